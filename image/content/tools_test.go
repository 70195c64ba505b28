//go:build tools

package content_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// fsck.vfat finds nothing wrong with what a directory became, and mtools read it back.
func TestForeignToolsReadTheFAT(t *testing.T) {
	data, err := fill(t, directory(t), 64*mib)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "fat")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	tool(t, "fsck.vfat", "-n", path)
	require.Equal(t, "dhcp: true\n", tool(t, "mtype", "-i", path, "::/etc/Net works/eth0.yaml"))
}

// An ext4 that mke2fs made of a directory is as whole in a larger partition.
func TestAnExt4IsCopied(t *testing.T) {
	made := filepath.Join(t.TempDir(), "state.ext4")
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", directory(t), made, "8M")
	data, err := fill(t, made, 16*mib)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "partition")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	tool(t, "e2fsck", "-fn", path)
	require.Contains(t, tool(t, "debugfs", "-R", "cat /etc/hostname", path), "node-1")
}
