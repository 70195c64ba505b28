//go:build vm

package proof

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
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
	"github.com/pawl-os/pawl/bootloader/bootorder"
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
	return issueIn(t, by, name, key, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
}

// issueIn is issue with a time of its own.
func issueIn(t *testing.T, by *signer, name string, key crypto.Signer, from, until time.Time) signer {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: from, NotAfter: until,
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
		args = append([]string{"--addcert", s.chain(t)}, args...)
	}
	text, err := exec.Command("sbsign", args...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	signed, err := os.ReadFile(out)
	require.NoError(t, err)
	return signed
}

// chain is a file with the certificates of all who are above a signer.
func (s signer) chain(t *testing.T) string {
	var all []byte
	for above := s.above; above != nil; above = above.above {
		b, err := os.ReadFile(above.cert)
		require.NoError(t, err)
		all = append(all, b...)
	}
	path := filepath.Join(t.TempDir(), "chain.pem")
	require.NoError(t, os.WriteFile(path, all, 0o644))
	return path
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

// enrolled are the variables of a firmware with Secure Boot on; or switched off, or without a platform key.
func enrolled(t *testing.T, db, dbx []byte, off, setup bool) *efivar.Memory {
	const authenticated = efivar.Kept | 0x20
	own := lists(t, certs(newSigner(t, "platform"))...)
	vars := efivar.NewMemory()
	put := func(name efivar.Name, attributes uint32, data []byte) {
		require.NoError(t, vars.Write(name, efivar.Variable{Attributes: attributes, Data: data}))
	}
	if !setup {
		put(efivar.Global("PK"), authenticated, own)
	}
	put(efivar.Global("KEK"), authenticated, own)
	put(secureboot.Database("db"), authenticated, db)
	if dbx != nil {
		put(secureboot.Database("dbx"), authenticated, dbx)
	}
	enable, err := efivar.ParseGUID("f0a30bc7-af08-4556-99c4-001009c93a44") // EDK II's switch in its setup
	require.NoError(t, err)
	on := byte(1)
	if off || setup {
		on = 0
	}
	put(efivar.Name{Name: "SecureBootEnable", GUID: enable}, efivar.NonVolatile|efivar.BootService, []byte{on})
	put(efivar.Global("SecureBoot"), efivar.BootService|efivar.Runtime,
		[]byte{on}) // which OVMF makes of the others at each start
	return vars
}

// secured is what lies where firmware looks, and what it trusts.
type secured struct {
	name           string
	loader, system change            // what becomes of them; nil: nothing
	db, dbx        []secureboot.List // no db: this firmware has no keys
	off, setup     bool              // Secure Boot is switched off in the setup; there is no platform key
	shim           change            // what becomes of Debian's, in front of the loader; nil: there is none
	gone, spare    bool              // nothing is behind the shim; firmware knows of a copy of both
	spareOnly      bool              // and the shim that it starts is gone
	mok, mokx      []secureboot.List // whom a person has enrolled with the shim
	levels         string            // what the shim holds for revoked; "": what it has by itself
	noDB, insecure bool              // what a person has switched in the shim
	boots          bool
	unsure         bool // the model does not know
}

// debianShim is Debian's shim, without a signature.
func debianShim(t *testing.T) []byte {
	shim, err := os.ReadFile("/usr/lib/shim/shimx64.efi")
	require.NoError(t, err)
	return shim
}

func (c secured) vars(t *testing.T) *efivar.Memory {
	if c.db == nil {
		return efivar.NewMemory()
	}
	var dbx []byte
	if c.dbx != nil {
		dbx = lists(t, c.dbx...)
	}
	vars := enrolled(t, lists(t, c.db...), dbx, c.off, c.setup)
	if c.shim == nil || c.off {
		return vars
	}
	const kept, volatile = efivar.NonVolatile | efivar.BootService, efivar.BootService | efivar.Runtime
	// What the shim keeps for itself, and what it says of it at each start.
	put := func(name, says string, keeps, said []byte) {
		if keeps != nil {
			require.NoError(t, vars.Write(secureboot.Mok(name), efivar.Variable{Attributes: kept, Data: keeps}))
		}
		require.NoError(t, vars.Write(secureboot.Mok(says), efivar.Variable{Attributes: volatile, Data: said}))
	}
	var mok, mokx, levels []byte
	if c.mok != nil {
		mok = lists(t, c.mok...)
	}
	put("MokList", "MokListRT", mok, append(mok, lists(t, certs(newSigner(t, "vendor"))...)...))
	if c.mokx != nil {
		mokx = lists(t, c.mokx...)
		put("MokListX", "MokListXRT", mokx, mokx)
	}
	said := []byte("sbat,1,2025021800\nshim,4\ngrub,5\n")
	if c.levels != "" {
		levels, said = []byte(c.levels), []byte(c.levels)
	}
	put("SbatLevel", "SbatLevelRT", levels, said)
	if c.noDB {
		put("MokDBState", "MokIgnoreDB", []byte{1}, []byte{1})
	}
	if c.insecure {
		put("MokSBState", "MokSBStateRT", []byte{1}, []byte{1})
	}
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
		if i%10 != 0 && os.Getenv("PAWL_LONG") == "" { // `make boots` has all
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			vars := c.vars(t)
			b := bootCase{name: c.name, times: 1, kit: kit, disk: m.disk.Clone(), vars: vars, secure: true}
			alter(t, b.disk, loaderFile, c.loader)
			alter(t, b.disk, bootloader.A.File(bootloader.UKIFile), c.system)
			if c.shim != nil {
				putShim(t, b.disk, c.shim, !c.gone)
			}
			if c.spare {
				putSpare(t, b.disk, vars, c)
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

// putShim puts Debian's shim where firmware looks, and the loader behind it.
func putShim(t *testing.T, d *disktest.Disk, becomes change, loader bool) {
	fs, err := newMachine(nil, d, efivar.NewMemory()).fs()
	require.NoError(t, err)
	behind, err := fs.ReadFile(loaderFile)
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(loaderFile, becomes(debianShim(t))))
	if loader {
		require.NoError(t, fs.WriteFile(bootloader.LoaderDir+"/grubx64.efi", behind))
	}
}

// putSpare puts a copy of shim and loader into slot A's directory, and tells firmware of it.
func putSpare(t *testing.T, d *disktest.Disk, vars *efivar.Memory, c secured) {
	m := newMachine(nil, d, vars)
	fs, err := m.fs()
	require.NoError(t, err)
	parts, err := osimage.FindLoaders()
	require.NoError(t, err)
	loader, err := os.ReadFile(parts.Loader)
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(bootloader.A.File(bootloader.LoaderFile), c.loader(loader)))
	require.NoError(t, fs.WriteFile(bootloader.A.File(bootloader.ShimFile), c.shim(debianShim(t))))
	at, err := m.drive()
	require.NoError(t, err)
	order := bootorder.Order{Vars: vars, FS: fs, Partition: at, Loader: bootorder.Spell(loaderFile), Title: "Pawl",
		Ours: true}
	require.NoError(t, order.Ensure(1, true))
	require.NoError(t, order.Spare(bootorder.Spell(bootloader.A.File(bootloader.LoaderFile))))
	if c.spareOnly {
		require.NoError(t, fs.Remove(loaderFile))
	}
}

// alter rewrites a file of the boot file system.
func alter(t *testing.T, d *disktest.Disk, path string, do change) {
	if do == nil {
		return
	}
	fs, err := newMachine(nil, d, efivar.NewMemory()).fs()
	require.NoError(t, err)
	data, err := fs.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(path, do(data)))
}
