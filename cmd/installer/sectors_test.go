package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// An image for a disk with sectors of 4096 bytes boots on one, and the other commands know it by its table.
func TestImageForLargeSectors(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	ref := f.reference("2.0.0", virtual.Spec{})
	raw := filepath.Join(t.TempDir(), "disk.raw")
	status, out := run(t, "image", "--image", ref, "--output", raw, "--size", "2GiB", "--sector-size", "4096")
	require.Zero(t, status, out)

	d, err := disk.Options{SectorSize: 4096, ReadOnly: true}.Open(raw)
	require.NoError(t, err)
	defer d.Close()
	o, err := predict.Boot(d, efivar.NewMemory(), predict.Options{})
	require.NoError(t, err)
	require.Equal(t, bootloader.A, o.Slot, "%v", o)
	status, out = run(t, "disk", "show", "--disk", raw)
	require.Zero(t, status, out)
	require.Contains(t, out, "sectors of 4096")
	require.NotContains(t, out, "warning")
	vars := filepath.Join(t.TempDir(), "none")
	require.NoError(t, os.Mkdir(vars, 0o755))
	status, out = run(t, "doctor", "--disk", raw, "--efivars", vars)
	require.Zero(t, status, out)
	require.Contains(t, out, "boot 1: slot A, 2.0.0")
	require.Contains(t, out, "Both copies are whole and agree")

	// Its table is found by the backup copy too.
	file, err := os.OpenFile(raw, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, 512), 4096)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	status, out = run(t, "disk", "repair", "--disk", raw)
	require.Zero(t, status, out)
	require.Contains(t, out, "mended: the primary copy is damaged")

	for size, says := range map[string]string{"1024": "--sector-size: 1024, want 512 or 4096",
		"520": "want 512 or 4096"} {
		status, out = run(t, "image", "--image", ref, "--output", raw+".2.raw", "--sector-size", size)
		require.Equal(t, exitUsage, status, out)
		require.Contains(t, out, says)
	}
	status, out = run(t, "image", "--image", ref, "--output", raw+".2.raw", "--sector-size", "4096", "--size",
		"2147483136")
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "no whole number of sectors of 4096 bytes")
	require.NoFileExists(t, raw+".2.raw")
	status, out = run(t, "image", "--image", ref, "--output", raw+".2.raw", "--sector-size", "4096", "--loader",
		"grub-bios", "--size", "2GiB")
	require.NotZero(t, status)
	require.Contains(t, out, "BIOS boots from disks of 512 only")
}
