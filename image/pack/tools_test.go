//go:build tools

package pack_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/pack"
)

// The command-line tools that everybody has unpack each layer and find the files.
func TestCommonToolsUnpackTheLayers(t *testing.T) {
	for _, c := range []struct {
		pack.Compression
		command string
	}{{pack.Zstd, "zstd -dc"}, {pack.Gzip, "gzip -dc"}, {pack.None, "cat"}} {
		t.Run(c.String(), func(t *testing.T) {
			i := sample()
			i.Compression = c.Compression
			l := create(t)
			b := add(t, l, i, "v1")
			digest, err := v1.NewHash(b.Digest)
			require.NoError(t, err)
			var m v1.Manifest
			require.NoError(t, json.Unmarshal(cat(t, l, digest), &m))
			for n, d := range m.Layers {
				out := t.TempDir()
				blob := filepath.Join(l.Dir(), "blobs/sha256", d.Digest.Hex)
				text, err := exec.Command("sh", "-c", c.command+` < "$1" | tar -x -C "$2"`, "sh", blob,
					out).CombinedOutput()
				require.NoError(t, err, "%s", text)
				require.Empty(t, text)
				var want bytes.Buffer
				require.NoError(t, i.Assets[n].Write(&want))
				got, err := exec.Command("cat", filepath.Join(out, "usr/install/amd64", i.Assets[n].Name)).Output()
				require.NoError(t, err)
				require.Equal(t, want.Bytes(), got)
			}
		})
	}
}

func cat(t *testing.T, l *pack.Layout, h v1.Hash) []byte {
	t.Helper()
	data, err := exec.Command("cat", filepath.Join(l.Dir(), "blobs", h.Algorithm, h.Hex)).Output()
	require.NoError(t, err)
	return data
}
