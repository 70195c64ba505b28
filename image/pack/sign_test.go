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
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/testregistry"
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
			b, err := l.Add(context.Background(), pack.Image{Version: "1", Arch: "amd64", Assets: []pack.Asset{pack.Data(pack.UKIAsset, []byte("x"))}})
			require.NoError(t, err)
			require.NoError(t, l.Tag("v1", b))
			r, err := testregistry.Serve("127.0.0.1:0")
			require.NoError(t, err)
			defer r.Close()
			nobody := authn.NewMultiKeychain()
			open := func(ref string) error {
				p := &image.Policy{Rules: []image.Rule{{References: []string{r.Host() + "/os", "oci:" + dir}, Keys: []string{public}}}}
				_, err := image.Open(context.Background(), ref, image.Options{Arch: "amd64", Keychain: nobody, Policy: p})
				return err
			}
			push := func() string {
				ref, err := l.Push(context.Background(), b, r.Host()+"/os:v1", pack.PushOptions{Keychain: nobody})
				require.NoError(t, err)
				return ref
			}
			require.ErrorIs(t, open(push()), image.ErrUnsigned)
			require.ErrorIs(t, open("oci:"+dir+":v1"), image.ErrUnsigned)

			signer, err := pack.ReadKey(file)
			require.NoError(t, err)
			require.NoError(t, l.Sign(b, signer, r.Host()+"/os"))
			require.NoError(t, open(push()))
			require.NoError(t, open("oci:"+dir+":v1"))
		})
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that is the point
	require.NoError(t, err)
	file, _ := writeKey(t, short)
	_, err = pack.ReadKey(file)
	require.ErrorContains(t, err, "1024 bits")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")}), 0o600))
	_, err = pack.ReadKey(file)
	require.ErrorContains(t, err, "cosign sign --key")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err = pack.ReadKey(file)
	require.ErrorContains(t, err, "no PEM")
	_, err = pack.ReadKey(file + ".absent")
	require.ErrorIs(t, err, os.ErrNotExist)
}
