//go:build tools

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition"
)

// Firmware starts a system from a FAT16, so doctor predicts that it does, and says that we do not write there.
func TestDoctorOfAFAT16(t *testing.T) {
	t.Parallel()
	b := newFactory(t).box(t)
	judge := func(name string, args ...string) {
		out, err := exec.Command(name, args...).CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
	}
	d, err := partition.Open(b.disk, partition.OpenOptions{})
	require.NoError(t, err)
	p, err := d.Partition(string(partition.EFI))
	require.NoError(t, err)
	esp := make([]byte, p.Size())
	_, err = p.ReadAt(esp, 0)
	require.NoError(t, err)
	dir := t.TempDir()
	was, is, files := filepath.Join(dir, "was"), filepath.Join(dir, "is"), filepath.Join(dir, "files")
	require.NoError(t, os.WriteFile(was, esp, 0o600))
	require.NoError(t, os.WriteFile(is, nil, 0o600))
	require.NoError(t, os.Truncate(is, p.Size()))
	require.NoError(t, os.Mkdir(files, 0o700))
	judge("mcopy", "-n", "-s", "-i", was, "::", files)
	judge("mkfs.vfat", "-F", "16", is)
	judge("mcopy", "-n", "-s", "-i", is, filepath.Join(files, "EFI"), filepath.Join(files, "loader"), "::")
	esp, err = os.ReadFile(is)
	require.NoError(t, err)
	_, err = p.WriteAt(esp, 0)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, d.Close())

	status, out := b.on("doctor")
	require.Equal(t, exitBroken, status, out)
	require.Contains(t, out, "boot 3: slot A, version not known: loader.conf names slot A.\n")
	require.Contains(t, out, "boot sector: FAT12 or FAT16, want FAT32")
	require.Contains(t, out, "Do: mend what it names, or install again.\n")
}
