//go:build root && tools

package ext4_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/disktest"
)

// This machine's kernel mounts it, reads all of it, writes into it, and leaves it as e2fsck wants it.
func TestTheKernelMountsIt(t *testing.T) {
	nodes, content := system()
	d := disktest.New(32*mib, 512)
	build(t, d, nodes, content)
	path, dir := onFile(t, d), t.TempDir()
	tool(t, "mount", "-t", "ext4", "-o", "loop", path, dir)
	mounted := true
	t.Cleanup(func() {
		if mounted {
			tool(t, "umount", dir)
		}
	})
	for name, text := range content {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.True(t, string(got) == text, name)
	}
	link, err := os.Readlink(filepath.Join(dir, "long"))
	require.NoError(t, err)
	require.Len(t, link, 800)
	for name, want := range map[string]string{"user.note": "odd", "user.empty": "", "trusted.x": "1234"} {
		value := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(dir, "bin/ping"), name, value)
		require.NoError(t, err)
		require.Equal(t, want, string(value[:n]))
	}
	info, err := os.Stat(filepath.Join(dir, "etc/hostname"))
	require.NoError(t, err)
	require.True(t, info.ModTime().Equal(then), info.ModTime())
	for i := range 500 { // until the directory gets an index
		name := filepath.Join(dir, "many", strings.Repeat("m", 200)+string(rune('a'+i%26))+strings.Repeat("k", i/26))
		require.NoError(t, os.WriteFile(name, make([]byte, 5000), 0o600))
	}
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "var")))
	tool(t, "umount", dir)
	mounted = false
	tool(t, "e2fsck", "-fn", path)
}
