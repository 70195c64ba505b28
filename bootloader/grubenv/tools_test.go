//go:build tools

package grubenv_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/grubenv"
)

func editenv(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("grub-editenv", args...).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	return string(out)
}

func TestGrubEditenvAgrees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "block")
	editenv(t, path, "create")
	editenv(t, path, "set", "trial=B", `path=a\b`)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, made, string(data))

	ours, err := grubenv.Parse(data)
	require.NoError(t, err)
	for _, v := range []grubenv.Variable{{Name: "trial", Value: "none"}, {Name: "path", Value: ""},
		{Name: "tries", Value: "3"}, {Name: "trial", Value: "A"}, {Name: "path", Value: `c:\d e`}} {
		editenv(t, path, "set", v.Name+"="+v.Value)
		require.NoError(t, ours.Set(v.Name, v.Value))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(data), string(ours), "after setting %s", v.Name)
	}
	editenv(t, path, "unset", "path")
	ours.Delete("path")
	data, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(data), string(ours))

	require.NoError(t, os.WriteFile(path, ours, 0o644))
	require.Equal(t, "trial=A\ntries=3\n", editenv(t, path, "list"))
}

func TestGrubEditenvTakesABlockOfOneSector(t *testing.T) {
	path := filepath.Join(t.TempDir(), "block")
	b := grubenv.New(512)
	require.NoError(t, b.Set("a", "1"))
	require.NoError(t, os.WriteFile(path, b, 0o644))
	editenv(t, path, "set", "b="+strings.Repeat("x", 400))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	b, err = grubenv.Parse(data)
	require.NoError(t, err)
	require.Len(t, b, 512)
	v, _ := b.Lookup("b")
	require.Len(t, v, 400)
}
