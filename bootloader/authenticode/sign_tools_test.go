//go:build tools

package authenticode_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// What Sign signs, sbverify and osslsigncode accept by its certificate and by no other; so they do beside a signature
// that sbsign made first, and with sbsign's put on top.
func TestForeignToolsVerifyWhatIsSigned(t *testing.T) {
	dir := t.TempDir()
	make := func(name string) (*rsa.PrivateKey, *x509.Certificate, string, string) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, IsCA: true,
			BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		require.NoError(t, err)
		c, err = x509.ParseCertificate(der)
		require.NoError(t, err)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		k, p := filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pem")
		require.NoError(t, os.WriteFile(k, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
		require.NoError(t, os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
		return key, c, k, p
	}
	key, cert, _, pemFile := make("ours")
	_, _, otherKey, otherPEM := make("theirs")
	systemd, err := os.ReadFile("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	require.NoError(t, err, "run hack/deps.sh")
	for name, program := range map[string][]byte{
		"a test's loader": loadertest.Loader("amd64"), "systemd-boot": systemd,
		"a length that is no multiple of 8": append(loadertest.Loader("amd64"), 1, 2, 3),
	} {
		signed, err := authenticode.Sign(program, key, cert)
		require.NoError(t, err, name)
		again, err := authenticode.Sign(program, key, cert)
		require.NoError(t, err)
		require.Equal(t, signed, again, "the same bytes each time")
		path := filepath.Join(dir, "signed.efi")
		verify := func(image []byte, pem string) error {
			require.NoError(t, os.WriteFile(path, image, 0o644))
			return exec.Command("sbverify", "--cert", pem, path).Run()
		}
		require.NoError(t, verify(signed, pemFile), name)
		require.Error(t, verify(signed, otherPEM), name)
		text, err := exec.Command("osslsigncode", "verify", "-CAfile", pemFile, "-in", path).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, text)

		theirs := filepath.Join(dir, "theirs.efi")
		require.NoError(t, os.WriteFile(path, program, 0o644))
		text, err = exec.Command("sbsign", "--key", otherKey, "--cert", otherPEM, "--output", theirs, path).CombinedOutput()
		require.NoError(t, err, "%s", text)
		first, err := os.ReadFile(theirs)
		require.NoError(t, err)
		both, err := authenticode.Sign(first, key, cert)
		require.NoError(t, err, name)
		s, err := authenticode.Read(both)
		require.NoError(t, err)
		require.NoError(t, s.Bad())
		require.Len(t, s.Signatures, 2)
		require.NoError(t, verify(both, pemFile), name)
		require.NoError(t, verify(both, otherPEM), name)
	}
}
