package pack_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// writeKey stores a private key as openssl does and returns its public half as PEM.
func writeKey(t *testing.T, key crypto.Signer) (file, public string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	der, err = x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return file, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestWhatIsSignedSatisfiesAPolicy(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, key := range map[string]crypto.Signer{"P-256": p256, "P-384": p384, "Ed25519": edwards, "RSA": long} {
		t.Run(name, func(t *testing.T) {
			file, public := writeKey(t, key)
			dir := filepath.Join(t.TempDir(), "layout")
			l, err := pack.Create(dir)
			require.NoError(t, err)
			b, err := l.Add(context.Background(), pack.Image{Version: "1", Arch: "amd64",
				Assets: []pack.Asset{pack.Data(pack.UKIAsset, []byte("x"))}})
			require.NoError(t, err)
			require.NoError(t, l.Tag("v1", b))
			r, err := testregistry.Serve("127.0.0.1:0")
			require.NoError(t, err)
			defer r.Close()
			nobody := authn.NewMultiKeychain()
			open := func(ref string) error {
				p := &image.Policy{Rules: []image.Rule{{References: []string{r.Host() + "/os", "oci:" + dir},
					Keys: []string{public}}}}
				_, err := image.Open(context.Background(), ref, image.Options{Arch: "amd64", Keychain: nobody,
					Policy: p})
				return err
			}
			push := func() string {
				ref, err := l.Push(context.Background(), b, r.Host()+"/os:v1", pack.PushOptions{Keychain: nobody})
				require.NoError(t, err)
				return ref
			}
			require.ErrorIs(t, open(push()), image.ErrUnsigned)
			require.ErrorIs(t, open("oci:"+dir+":v1"), image.ErrUnsigned)

			signer, err := pack.ReadKey(file, nil)
			require.NoError(t, err)
			require.NoError(t, l.Sign(b, signer, r.Host()+"/os"))
			require.NoError(t, open(push()))
			require.NoError(t, open("oci:"+dir+":v1"))
		})
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024) // that is the point
	require.NoError(t, err)
	file, _ := writeKey(t, short)
	_, err = pack.ReadKey(file, nil)
	require.ErrorContains(t, err, "1024 bits")
	for _, c := range []struct{ kind, text, want string }{
		{"ENCRYPTED PRIVATE KEY", "x", "want a private key that is not encrypted, or one that cosign encrypted"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", "x", "not as cosign does"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", `{"kdf":{"name":"argon2"}}`, `encrypted with "argon2"`},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", encrypted(1<<30, 8, 1), "N=1073741824, r=8, p=1, more than"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", encrypted(2, 1<<40, 1), "more than"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", encrypted(2, 1, 1<<20), "more than"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", encrypted(0, 8, 1), "more than"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", encrypted(3, 8, 1), "power of 2"},
		{"ENCRYPTED SIGSTORE PRIVATE KEY", encrypted(2, 8, 1), "the password does not open the key"},
	} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: c.kind, Bytes: []byte(c.text)}),
			0o600))
		_, err = pack.ReadKey(file, new(string))
		require.ErrorContains(t, err, c.want, "%s", c.text)
	}
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err = pack.ReadKey(file, nil)
	require.ErrorContains(t, err, "no PEM")
	_, err = pack.ReadKey(file+".absent", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func encrypted(n, r, p int) string {
	return fmt.Sprintf(`{"kdf":{"name":"scrypt","params":{"N":%d,"r":%d,"p":%d},"salt":"AAAA"},
		"cipher":{"name":"nacl/secretbox","nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},"ciphertext":"AAAA"}`, n, r, p)
}

// TestKeysOfCosign opens keys that cosign made and encrypted: see testdata/cosign/make.sh.
func TestKeysOfCosign(t *testing.T) {
	right, wrong, empty := "correct horse", "correct house", ""
	for name, password := range map[string]*string{"generated": &right, "rsa": &right, "ed25519": &right,
		"empty": &empty} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata/cosign", name+".key")
			key, err := pack.ReadKey(file, password)
			require.NoError(t, err)
			der, err := x509.MarshalPKIXPublicKey(key.Public())
			require.NoError(t, err)
			public, err := os.ReadFile(filepath.Join("testdata/cosign", name+".pub"))
			require.NoError(t, err)
			block, _ := pem.Decode(public)
			require.Equal(t, block.Bytes, der, "the private half of that key")
			_, err = pack.ReadKey(file, &wrong)
			require.ErrorIs(t, err, pack.ErrPassword)
			_, err = pack.ReadKey(file, nil)
			require.ErrorIs(t, err, pack.ErrPassword)
			require.ErrorContains(t, err, "no password is known")
		})
	}
}
