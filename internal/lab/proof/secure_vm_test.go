//go:build vm

package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/partition/disktest"
)

// signer is a key whose signatures sbsign makes.
type signer struct {
	key, cert string // files
	x509      *x509.Certificate
	private   crypto.Signer
	above     *signer // who issued it, where that comes with its signatures
}

func newSigner(t *testing.T, name string) signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return issue(t, nil, name, key)
}

// issue makes a signer, by itself or by another one.
func issue(t *testing.T, by *signer, name string, key crypto.Signer) signer {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	parent := signer{x509: c, private: key}
	if by != nil {
		parent = *by
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent.x509, key.Public(), parent.private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	s := signer{key: filepath.Join(dir, "key.pem"), cert: filepath.Join(dir, "cert.pem"), private: key, above: by}
	s.x509, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	require.NoError(t, os.WriteFile(s.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return s
}

func (s signer) sign(t *testing.T, program []byte) []byte {
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(in, program, 0o644))
	args := []string{"--key", s.key, "--cert", s.cert, "--output", out, in}
	if s.above != nil {
		args = append([]string{"--addcert", s.above.cert}, args...)
	}
	text, err := exec.Command("sbsign", args...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	signed, err := os.ReadFile(out)
	require.NoError(t, err)
	return signed
}

// lists are what a variable such as db holds.
func lists(t *testing.T, l ...secureboot.List) []byte {
	data, err := secureboot.Encode(l...)
	require.NoError(t, err)
	return data
}

func certs(s ...signer) (l []secureboot.List) {
	for _, s := range s {
		l = append(l, secureboot.Of(secureboot.TypeX509, s.x509.Raw))
	}
	return l
}

func digest(t *testing.T, program []byte) secureboot.List {
	s, err := authenticode.Read(program)
	require.NoError(t, err)
	return secureboot.Of(secureboot.TypeSHA256, s.Digest[:])
}

// enrolled are the variables of a firmware with Secure Boot on.
func enrolled(t *testing.T, db, dbx []byte) *efivar.Memory {
	const authenticated = efivar.Kept | 0x20
	own := lists(t, certs(newSigner(t, "platform"))...)
	vars := efivar.NewMemory()
	put := func(name efivar.Name, attributes uint32, data []byte) {
		require.NoError(t, vars.Write(name, efivar.Variable{Attributes: attributes, Data: data}))
	}
	put(efivar.Global("PK"), authenticated, own)
	put(efivar.Global("KEK"), authenticated, own)
	put(secureboot.Database("db"), authenticated, db)
	if dbx != nil {
		put(secureboot.Database("dbx"), authenticated, dbx)
	}
	enable, err := efivar.ParseGUID("f0a30bc7-af08-4556-99c4-001009c93a44") // EDK II's switch in its setup
	require.NoError(t, err)
	put(efivar.Name{Name: "SecureBootEnable", GUID: enable}, efivar.NonVolatile|efivar.BootService, []byte{1})
	put(efivar.Global("SecureBoot"), efivar.BootService|efivar.Runtime,
		[]byte{1}) // which OVMF makes of the others at each start
	return vars
}

// secured is what lies where firmware looks, and what it trusts.
type secured struct {
	name           string
	loader, system func([]byte) []byte // what becomes of them
	db, dbx        []secureboot.List   // no db: Secure Boot is off
	shim           func([]byte) []byte // what becomes of Debian's, in front of the loader; nil: there is none
	mok            []secureboot.List   // whom a person has enrolled with the shim
	boots          bool
	unsure         bool // the model does not know
}

func (c secured) vars(t *testing.T) *efivar.Memory {
	if c.db == nil {
		return efivar.NewMemory()
	}
	var dbx []byte
	if c.dbx != nil {
		dbx = lists(t, c.dbx...)
	}
	vars := enrolled(t, lists(t, c.db...), dbx)
	if c.shim == nil {
		return vars
	}
	const volatile = efivar.BootService | efivar.Runtime
	put := func(name string, attributes uint32, data []byte) {
		require.NoError(t, vars.Write(secureboot.Mok(name), efivar.Variable{Attributes: attributes, Data: data}))
	}
	// What the shim keeps for itself, and what it says of it at each start.
	if c.mok != nil {
		put("MokList", efivar.NonVolatile|efivar.BootService, lists(t, c.mok...))
	}
	put("MokListRT", volatile, lists(t, append(c.mok, certs(newSigner(t, "vendor"))...)...))
	put("SbatLevelRT", volatile, []byte("sbat,1,2025021800\nshim,4\ngrub,5\n"))
	return vars
}

// What lies where firmware looks for a loader, and whether OVMF starts it: for another architecture; with Secure Boot
// on, by whom it is signed, over which chain, and what is forbidden; and the same behind Debian's shim.
func TestTheModelAgreesOnWhatFirmwareRefuses(t *testing.T) {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	for i, c := range securedCases(t) {
		if sampled(i) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			vars := c.vars(t)
			b := bootCase{name: c.name, times: 1, kit: kit, disk: m.disk.Clone(), vars: vars, secure: true}
			change(t, b.disk, loaderFile, c.loader)
			change(t, b.disk, bootloader.A.File(bootloader.UKIFile), c.system)
			if c.shim != nil {
				behindShim(t, b.disk, c.shim)
			}
			model, err := predict.Boot(b.disk.Clone(), vars.Clone(), predict.Options{Explain: true})
			require.NoError(t, err)
			require.Equal(t, c.boots || c.unsure, model.Path != "", "the model: %v %v", model, model.Why)
			require.Equal(t, c.unsure, len(model.Unsure) > 0, "%v", model.Unsure)
			got, err := b.boot(t.Context(), t.TempDir(), 6*time.Minute)
			require.NoError(t, err)
			require.Equal(t, c.boots, got[0] != "nothing", "the guest: %s", got[0])
			if c.boots {
				require.Equal(t, "1.1.0 from "+`\`+strings.ReplaceAll(model.Path, "/", `\`), got[0])
			}
		})
	}
}

func securedCases(t *testing.T) []secured {
	parts, err := osimage.FindLoaders()
	require.NoError(t, err)
	loader, err := os.ReadFile(parts.Loader)
	require.NoError(t, err)
	us, others := newSigner(t, "us"), newSigner(t, "others")
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	curve := issue(t, nil, "elliptic", elliptic)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	below := issue(t, &us, "below us", key)
	alone := below
	alone.above = nil
	same := func(program []byte) []byte { return program }
	by := func(s signer) func([]byte) []byte {
		return func(program []byte) []byte { return s.sign(t, program) }
	}
	signed, foreign := by(us), by(others)
	arm64 := func(program []byte) []byte {
		other := append([]byte(nil), program...)
		binary.LittleEndian.PutUint16(other[binary.LittleEndian.Uint32(other[60:])+4:], 0xaa64)
		return other
	}
	noLevels := func(program []byte) []byte {
		return signed(bytes.Replace(program, []byte(".sbat"), []byte(".nope"), 1))
	}
	ours := certs(us)
	own := func(program []byte) []byte {
		signed, err := authenticode.Sign(program, us.private, us.x509)
		require.NoError(t, err)
		return signed
	}
	ready := signed(loader) // each time it is signed the same bytes are covered
	sum := sha256.Sum256(us.x509.RawTBSCertificate)
	revoked := []secureboot.List{secureboot.Of(secureboot.TypeX509SHA256, append(sum[:], make([]byte, 16)...))}
	return []secured{
		{"loader for another architecture", arm64, same, nil, nil, nil, nil, false, false},
		{"loader signed by others", foreign, signed, ours, nil, nil, nil, false, false},
		{"behind a shim, all signed", signed, signed, ours, nil, signed, nil, true, false},
		{"signed as the packing does", own, own, ours, nil, nil, nil, true, false},
		{"system not signed", signed, same, ours, nil, nil, nil, false, false},
		{"all signed", signed, signed, ours, nil, nil, nil, true, false},
		{"loader not signed", same, signed, ours, nil, nil, nil, false, false},
		{"loader allowed by its digest", same, signed, append(ours, digest(t, loader)), nil, nil, nil, true, false},
		{"loader forbidden by its digest", signed, signed, ours, []secureboot.List{digest(t, ready)}, nil, nil, false,
			false},
		{"its signer forbidden", signed, signed, ours, ours, nil, nil, false, false},
		{"its signer forbidden by digest", signed, signed, ours, revoked, nil, nil, false, false},
		{"who issued its signer allowed", by(below), by(below), ours, nil, nil, nil, true, false},
		{"who issued its signer allowed, and not there", by(alone), by(alone), ours, nil, nil, nil, true, false},
		{"its signer alone allowed", by(alone), by(below), certs(below), nil, nil, nil, true, false},
		{"who issued its signer forbidden", by(below), by(below), certs(below), ours, nil, nil, false, false},
		{"system signed by others", signed, foreign, ours, nil, nil, nil, false, false},
		{"system signed by both", signed, func(p []byte) []byte { return signed(foreign(p)) }, ours, nil, nil, nil,
			true, false},
		{"signed over an elliptic curve", by(curve), by(curve), certs(curve), nil, nil, nil, false, true},
		{"behind a shim that others signed", signed, signed, ours, nil, foreign, nil, false, false},
		{"behind a shim, loader not signed", same, signed, ours, nil, signed, nil, false, false},
		{"behind a shim, loader signed by others", foreign, signed, ours, nil, signed, nil, false, false},
		{"behind a shim, system not signed", signed, same, ours, nil, signed, nil, false, false},
		{"behind a shim, all by one who is in MokList", foreign, foreign, ours, nil, signed, certs(others), true,
			false},
		{"behind a shim, system by one who is in MokList", signed, foreign, ours, nil, signed, certs(others), true,
			false},
		{"behind a shim, loader without SBAT", noLevels, signed, ours, nil, signed, nil, false, false},
		{"behind a shim, loader forbidden by its digest", signed, signed, ours, []secureboot.List{digest(t, ready)},
			signed, nil, false, false},
		{"behind a shim, system allowed by its digest", signed, same, append(ours, systemDigest(t)), nil, signed, nil,
			true, false},
	}
}

// systemDigest is that of the system in slot A.
func systemDigest(t *testing.T) secureboot.List {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	fs, err := m.fs()
	require.NoError(t, err)
	data, err := fs.ReadFile(bootloader.A.File(bootloader.UKIFile))
	require.NoError(t, err)
	return digest(t, data)
}

// behindShim puts Debian's shim where firmware looks, and the loader behind it.
func behindShim(t *testing.T, d *disktest.Disk, becomes func([]byte) []byte) {
	shim, err := os.ReadFile("/usr/lib/shim/shimx64.efi")
	require.NoError(t, err)
	fs, err := newMachine(nil, d, efivar.NewMemory()).fs()
	require.NoError(t, err)
	loader, err := fs.ReadFile(loaderFile)
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(loaderFile, becomes(shim)))
	require.NoError(t, fs.WriteFile(bootloader.LoaderDir+"/grubx64.efi", loader))
}

// change rewrites a file of the boot file system.
func change(t *testing.T, d *disktest.Disk, path string, do func([]byte) []byte) {
	fs, err := newMachine(nil, d, efivar.NewMemory()).fs()
	require.NoError(t, err)
	data, err := fs.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(path, do(data)))
}
