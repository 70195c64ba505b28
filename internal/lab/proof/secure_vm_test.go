//go:build vm

package proof

import (
	"crypto/rand"
	"crypto/rsa"
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
	"github.com/pawl-os/pawl/partition/disktest"
)

// signer is a key whose signatures sbsign makes.
type signer struct {
	key, cert string // files
	der       []byte
}

func newSigner(t *testing.T, name string) signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	s := signer{filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem"), der}
	require.NoError(t, os.WriteFile(s.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	require.NoError(t, os.WriteFile(s.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return s
}

func (s signer) sign(t *testing.T, program []byte) []byte {
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(in, program, 0o644))
	text, err := exec.Command("sbsign", "--key", s.key, "--cert", s.cert, "--output", out, in).CombinedOutput()
	require.NoError(t, err, "%s", text)
	signed, err := os.ReadFile(out)
	require.NoError(t, err)
	return signed
}

// list is an EFI_SIGNATURE_LIST with one entry (UEFI 2.10, section 32.4.1).
func list(t *testing.T, kind string, data []byte) []byte {
	le := binary.LittleEndian
	g, err := efivar.ParseGUID(kind)
	require.NoError(t, err)
	b := []byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6]}
	b = append(b, g[8:]...)
	b = le.AppendUint32(b, uint32(28+16+len(data)))
	b = le.AppendUint32(le.AppendUint32(b, 0), uint32(16+len(data)))
	return append(append(b, make([]byte, 16)...), data...)
}

const (
	x509List   = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
	sha256List = "c1c41626-504c-4092-aca9-41f936934328"
)

// enrolled are the variables of a firmware with Secure Boot on.
func enrolled(t *testing.T, db, dbx []byte) *efivar.Memory {
	const authenticated = efivar.Kept | 0x20
	own := newSigner(t, "platform").der
	vars := efivar.NewMemory()
	put := func(name efivar.Name, attributes uint32, data []byte) {
		require.NoError(t, vars.Write(name, efivar.Variable{Attributes: attributes, Data: data}))
	}
	put(efivar.Global("PK"), authenticated, list(t, x509List, own))
	put(efivar.Global("KEK"), authenticated, list(t, x509List, own))
	put(predict.Signatures("db"), authenticated, db)
	if dbx != nil {
		put(predict.Signatures("dbx"), authenticated, dbx)
	}
	enable, err := efivar.ParseGUID("f0a30bc7-af08-4556-99c4-001009c93a44") // EDK II's switch in its setup
	require.NoError(t, err)
	put(efivar.Name{Name: "SecureBootEnable", GUID: enable}, efivar.NonVolatile|efivar.BootService, []byte{1})
	put(efivar.Global("SecureBoot"), efivar.BootService|efivar.Runtime,
		[]byte{1}) // which OVMF makes of the others at each start
	return vars
}

// What lies where firmware looks for a loader, and whether OVMF starts it: for another architecture; with Secure Boot
// on, not signed, signed by one who may or may not, allowed or forbidden by its digest, with a system that is not
// signed.
func TestTheModelAgreesOnWhatFirmwareRefuses(t *testing.T) {
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	loader, err := os.ReadFile("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	require.NoError(t, err)
	us, others := newSigner(t, "us"), newSigner(t, "others")
	digest := func(program []byte) []byte {
		s, err := authenticode.Read(program)
		require.NoError(t, err)
		return s.Digest[:]
	}
	same := func(program []byte) []byte { return program }
	signed := func(program []byte) []byte { return us.sign(t, program) }
	foreign := func(program []byte) []byte { return others.sign(t, program) }
	arm64 := func(program []byte) []byte {
		other := append([]byte(nil), program...)
		binary.LittleEndian.PutUint16(other[binary.LittleEndian.Uint32(other[60:])+4:], 0xaa64)
		return other
	}
	ours := list(t, x509List, us.der)
	ready := signed(loader) // each time it is signed the same bytes are covered
	both := append(list(t, sha256List, digest(loader)), ours...)
	for i, c := range []struct {
		name           string
		loader, system func([]byte) []byte
		vars           *efivar.Memory
		boots          bool
	}{
		{"loader for another architecture", arm64, same, efivar.NewMemory(), false},
		{"Secure Boot, loader signed by others", foreign, signed, enrolled(t, ours, nil), false},
		{"Secure Boot, system not signed", signed, same, enrolled(t, ours, nil), false},
		{"Secure Boot, all signed", signed, signed, enrolled(t, ours, nil), true},
		{"Secure Boot, loader not signed", same, signed, enrolled(t, ours, nil), false},
		{"Secure Boot, loader allowed by its digest", same, signed, enrolled(t, both, nil), true},
		{"Secure Boot, loader forbidden by its digest", signed, signed,
			enrolled(t, ours, list(t, sha256List, digest(ready))), false},
	} {
		if sampled(i) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			b := bootCase{name: c.name, times: 1, kit: kit, disk: m.disk.Clone(), vars: c.vars, secure: true}
			change(t, b.disk, loaderFile, c.loader)
			change(t, b.disk, bootloader.A.File(bootloader.UKIFile), c.system)
			model, err := predict.Boot(b.disk.Clone(), c.vars.Clone(), predict.Options{})
			require.NoError(t, err)
			got, err := b.boot(t.Context(), t.TempDir(), 6*time.Minute)
			require.NoError(t, err)
			require.Equal(t, c.boots, got[0] != "nothing", "the guest: %s", got[0])
			require.Equal(t, c.boots, model.Path != "", "the model: %v", model)
			if c.boots {
				require.Equal(t, "1.1.0 from "+`\`+strings.ReplaceAll(model.Path, "/", `\`), got[0])
			}
		})
	}
}

// change rewrites a file of the boot file system.
func change(t *testing.T, d *disktest.Disk, path string, do func([]byte) []byte) {
	fs, err := newMachine(nil, d, efivar.NewMemory()).fs()
	require.NoError(t, err)
	data, err := fs.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, fs.WriteFile(path, do(data)))
}
