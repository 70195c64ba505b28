//go:build cosign

package image_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

// TestMakeCosignFixtures makes testdata/cosign with the cosign in PATH:
//
//	go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
//	go test -tags cosign -run TestMakeCosignFixtures ./image
//
// Each fixture is what a registry holds of one signature of one image by one key: the manifest and its blobs.
func TestMakeCosignFixtures(t *testing.T) {
	dir, _ := packed(t, 3000, 0)
	out := "testdata/cosign"
	require.NoError(t, os.RemoveAll(out))
	require.NoError(t, os.MkdirAll(out, 0o755))
	require.NoError(t, os.CopyFS(filepath.Join(out, "image"), os.DirFS(dir)))
	keys := t.TempDir()
	run := func(command string) {
		t.Helper()
		cmd := exec.Command("bash", "-c", command)
		cmd.Dir = keys
		cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", command, text)
	}
	for _, k := range []struct{ name, make string }{
		{"ecdsa", "openssl ecparam -name prime256v1 -genkey -noout -out ecdsa.pem"},
		{"ed25519", "openssl genpkey -algorithm ed25519 -out ed25519.pem"},
		{"rsa", "openssl genrsa -out rsa.pem 2048"},
	} {
		run(k.make)
		run("openssl pkey -in " + k.name + ".pem -pubout -out " + k.name + ".pub")
		run("cosign import-key-pair --yes --key " + k.name + ".pem --output-key-prefix " + k.name + "-cosign")
		data, err := os.ReadFile(filepath.Join(keys, k.name+".pub"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(out, k.name+".pub"), data, 0o644))
		for mode, flags := range map[string]string{
			"tag":      "--use-signing-config=false --new-bundle-format=false --registry-referrers-mode=legacy",
			"referrer": "--use-signing-config=false --new-bundle-format=false --registry-referrers-mode=oci-1-1",
			"bundle":   "--use-signing-config=false --new-bundle-format=true",
		} {
			r := serve(t)
			pinned := push(t, r, dir)
			run("COSIGN_EXPERIMENTAL=1 cosign sign --yes --tlog-upload=false --allow-http-registry --key " + k.name +
				"-cosign.key " + flags + " " + pinned)
			dump(t, pinned, filepath.Join(out, k.name+"-"+mode))
		}
	}
}

// dump writes every tag but v1, and every referrer of the image.
func dump(t *testing.T, pinned, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	ref, err := name.NewDigest(pinned)
	require.NoError(t, err)
	save := func(ref name.Reference, as string) {
		d, err := remote.Get(ref)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, as+".manifest"), d.Manifest, 0o644))
		var m struct{ Layers, Manifests []struct{ Digest string } }
		require.NoError(t, json.Unmarshal(d.Manifest, &m))
		for _, l := range m.Layers {
			layer, err := remote.Layer(ref.Context().Digest(l.Digest))
			require.NoError(t, err)
			in, err := layer.Compressed()
			require.NoError(t, err)
			f, err := os.Create(filepath.Join(dir, strings.TrimPrefix(l.Digest, "sha256:")+".blob"))
			require.NoError(t, err)
			_, err = f.ReadFrom(in)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	tags, err := remote.List(ref.Context())
	require.NoError(t, err)
	for _, tag := range tags {
		if tag != "v1" {
			save(ref.Context().Tag(tag), tag)
		}
	}
	index, err := remote.Referrers(ref)
	require.NoError(t, err)
	m, err := index.IndexManifest()
	require.NoError(t, err)
	for _, d := range m.Manifests {
		save(ref.Context().Digest(d.Digest.String()), "referrer-"+d.Digest.Hex)
	}
}
