//go:build cosign

package pack_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// TestCosignVerifiesWhatIsSigned asks the cosign in PATH. It takes minutes to build, so no target of the Makefile runs
// this:
//
//	go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
//	go test -tags cosign -run TestCosignVerifies ./image/pack
func TestCosignVerifiesWhatIsSigned(t *testing.T) {
	right := "correct horse"
	for _, name := range []string{"generated", "rsa", "ed25519"} {
		t.Run(name, func(t *testing.T) {
			l, err := pack.Create(filepath.Join(t.TempDir(), "layout"))
			require.NoError(t, err)
			b, err := l.Add(context.Background(), pack.Image{Version: "1", Arch: "amd64",
				Assets: []pack.Asset{pack.Data(pack.UKIAsset, []byte("x"))}})
			require.NoError(t, err)
			require.NoError(t, l.Tag("v1", b))
			r, err := testregistry.Serve("127.0.0.1:0")
			require.NoError(t, err)
			defer r.Close()
			verify := func(key string) (string, error) {
				cmd := exec.Command("cosign", "verify", "--key", filepath.Join("testdata/cosign", key+".pub"),
					"--insecure-ignore-tlog", "--allow-http-registry", r.Host()+"/os@"+b.Digest)
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			push := func() {
				_, err := l.Push(context.Background(), b, r.Host()+"/os:v1",
					pack.PushOptions{Keychain: authn.NewMultiKeychain()})
				require.NoError(t, err)
			}
			push()
			out, err := verify(name)
			require.Error(t, err, "not signed yet: %s", out)
			key, err := pack.ReadKey(filepath.Join("testdata/cosign", name+".key"), &right)
			require.NoError(t, err)
			require.NoError(t, l.Sign(b, key, r.Host()+"/os"))
			push()
			out, err = verify(name)
			require.NoError(t, err, out)
			require.Contains(t, out, b.Digest)
			out, err = verify("empty")
			require.Error(t, err, "another key: %s", out)
		})
	}
}
