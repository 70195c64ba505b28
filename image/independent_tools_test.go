//go:build tools

package image_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The other programs that read a layer: zstd and tar.
func TestZstdAndTarUnpackALayerWithChunks(t *testing.T) {
	want := root(1<<20, "a root")
	layers, err := foreignLayers(withRoot(t, want))
	require.NoError(t, err)
	out := t.TempDir()
	unpack := exec.Command("sh", "-c", `zstd -d | tar -x -C "$1"`, "sh", out)
	unpack.Stdin = bytes.NewReader(layers[0].blob)
	said, err := unpack.CombinedOutput()
	require.NoError(t, err, "%s", said)
	got, err := os.ReadFile(filepath.Join(out, "usr/install/amd64/images/root"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))
}
