//go:build tools

package secureboot_test

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

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/secureboot"
)

// pair is a key and its certificate in files, as foreign tools take them.
type pair struct {
	key, cert string
	x509      *x509.Certificate
	private   *rsa.PrivateKey
}

func makePair(t *testing.T, by *pair, name string) pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0)}
	parent := pair{x509: c, private: key}
	if by != nil {
		parent = *by
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent.x509, &key.PublicKey, parent.private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	p := pair{key: filepath.Join(t.TempDir(), "key.pem"), cert: filepath.Join(t.TempDir(), "cert.pem"), private: key}
	p.x509, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	require.NoError(t, os.WriteFile(p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return p
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	text, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s (run hack/deps.sh)", name, args, text)
}

// esl is what cert-to-efi-sig-list makes of a certificate.
func esl(t *testing.T, p pair) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "list.esl")
	run(t, "cert-to-efi-sig-list", p.cert, out)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	return data
}

// What sbsign and osslsigncode sign, judged by lists that efitools makes, and by sbverify as it is told the same
// certificate.
func TestSbverifyAgrees(t *testing.T) {
	root := makePair(t, nil, "root")
	leaf, other := makePair(t, &root, "leaf"), makePair(t, nil, "other")
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	bare := file("bare.efi")
	program := loadertest.Loader("amd64")
	require.NoError(t, os.WriteFile(bare, program, 0o644))
	run(t, "sbsign", "--key", other.key, "--cert", other.cert, "--output", file("other.efi"), bare)
	run(t, "sbsign", "--key", leaf.key, "--cert", leaf.cert, "--addcert", root.cert, "--output", file("leaf.efi"), bare)
	run(t, "sbsign", "--key", leaf.key, "--cert", leaf.cert, "--output", file("both.efi"), file("other.efi"))
	run(t, "osslsigncode", "sign", "-h", "sha256", "-certs", leaf.cert, "-key", leaf.key, "-in", bare, "-out",
		file("ossl.efi"))
	changed := append([]byte(nil), program...)
	changed[0x200]++
	signed, err := os.ReadFile(file("leaf.efi"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file("changed.efi"), append(changed, signed[len(program):]...), 0o644))
	accepted := 0
	for _, name := range []string{"bare", "other", "leaf", "both", "ossl", "changed"} {
		data, err := os.ReadFile(file(name + ".efi"))
		require.NoError(t, err)
		s := read(t, data)
		for of, p := range map[string]pair{"root": root, "leaf": leaf, "other": other} {
			vars := variables(t, nil)
			require.NoError(t, vars.Write(db, efivar.Variable{Attributes: efivar.Kept, Data: esl(t, p)}))
			err := secureboot.Read(vars).Judge(s)
			text, foreign := exec.Command("sbverify", "--cert", p.cert, file(name+".efi")).CombinedOutput()
			if of == "leaf" { // sbverify wants chains to end in a root; what firmware does is asked of firmware
				require.Equal(t, name == "leaf" || name == "both" || name == "ossl", err == nil, name)
				continue
			}
			require.Equal(t, foreign == nil, err == nil, "%s with %s in db: %v; sbverify: %s", name, of, err, text)
			if err == nil {
				accepted++
				continue
			}
			require.ErrorIs(t, err, secureboot.ErrRefused)
		}
	}
	require.Positive(t, accepted)
}

// The digest that efitools puts into a list is that of the program.
func TestDigestOfEfitools(t *testing.T) {
	in, out := filepath.Join(t.TempDir(), "in.efi"), filepath.Join(t.TempDir(), "out.esl")
	require.NoError(t, os.WriteFile(in, loadertest.Loader("amd64"), 0o644))
	run(t, "hash-to-efi-sig-list", in, out)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	vars := variables(t, nil)
	require.NoError(t, vars.Write(db, efivar.Variable{Attributes: efivar.Kept, Data: data}))
	require.NoError(t, secureboot.Read(vars).Judge(read(t, loadertest.Loader("amd64"))))
}
