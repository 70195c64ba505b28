//go:build tools

package content_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/content"
	"github.com/pawl-os/pawl/partition/disktest"
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

// e2fsck finds nothing wrong with what a directory, a tar of GNU tar's, and nothing became; debugfs reads it back.
func TestForeignToolsReadTheExt4(t *testing.T) {
	dir := directory(t)
	archive := filepath.Join(t.TempDir(), "state.tar")
	tool(t, "tar", "-C", dir, "--owner=7", "--group=8", "--mtime=2026-01-02", "--sort=name", "-cf", archive, ".")
	for from, owner := range map[string]string{dir: "User:     0   Group:     0", archive: "User:     7   Group:     8"} {
		data, err := fillAs(t, content.Ext4, from, 20*mib, 0)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "ext4")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		tool(t, "e2fsck", "-fn", path)
		require.Contains(t, tool(t, "debugfs", "-R", `cat "/etc/Net works/eth0.yaml"`, path), "dhcp: true\n")
		require.Contains(t, tool(t, "debugfs", "-R", "stat /name", path), `Fast link dest: "etc/hostname"`)
		said := tool(t, "debugfs", "-R", "stat /etc/hostname", path)
		require.Contains(t, said, owner)
		require.Contains(t, said, "Mode:  0600")
	}
	d := disktest.New(16*mib, 512)
	require.NoError(t, content.Ext4.Empty().Fill(t.Context(), d, content.Options{Time: then}))
	path := filepath.Join(t.TempDir(), "ext4")
	data := make([]byte, d.Size())
	_, err := d.ReadAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	tool(t, "e2fsck", "-fn", path)
}
