//go:build root

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// A disk that is full while the image is made, in each of its two files, ends it with the reason and leaves nothing.
func TestImageOnAFullDisk(t *testing.T) {
	f := newFactory(t)
	large := f.reference("2.0.0", virtual.Spec{Size: 8 << 20})
	for size, formats := range map[string][]string{"4m": {"raw", "qcow2", "raw.zst"}, "14m": {"vhd-dynamic", "vhdx"}} {
		dir := t.TempDir()
		require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		for _, format := range formats {
			path := filepath.Join(dir, "disk")
			status, out := run(t, "image", "--image", large, "--output", path, "--output-format", format, "--size",
				"2GiB")
			require.NotZero(t, status, out)
			require.Contains(t, out, "no space left on device", format)
			names, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, names, format)
		}
	}
}

// An output on a file system that is mounted read-only is refused before the image is opened.
func TestImageOnAReadOnlyFileSystem(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "disk.raw")
	status, out := run(t, "image", "--image", "oci:/not/looked/at:1", "--output", path)
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "--output: make "+path+": read-only file system")
}
