package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/partition"
)

// The plan says of each partition what becomes of it, ends in 5 where the disk cannot be taken over, and writes
// nothing.
func TestAdoptSaysWhatCouldBeKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "disk.raw")
	raw, err := disk.Create(path, 256<<20)
	require.NoError(t, err)
	l, err := partition.Plan(nil, raw.Size(), 512, []partition.Spec{
		{Label: "esp", Type: partition.TypeESP, Size: 160 << 20, GUID: uuid.New()},
		{Label: "root", Type: partition.TypeLinux, Size: 32 << 20, GUID: uuid.New()}})
	require.NoError(t, err)
	require.NoError(t, partition.Apply(raw, l))
	esp := partition.Section(raw, l.Partitions[0])
	require.NoError(t, bootfs.Format(esp, bootfs.FormatOptions{}))
	boot, err := bootfs.Open(esp, bootfs.Options{})
	require.NoError(t, err)
	require.NoError(t, boot.Mkdir("loader"))
	require.NoError(t, boot.WriteFile("loader/loader.conf", []byte("timeout 3\n")))
	require.NoError(t, raw.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	code, out := run(t, "adopt", "--plan", "--disk", path)
	require.Zero(t, code, out)
	for _, say := range []string{"laid out by systemd-boot, as bootctl installs it", "root", "kept",
		"room: a slot can hold", `changes: the EFI partition is labelled "esp": --label EFI=esp`,
		"changes: a partition META of 1 MiB"} {
		require.Contains(t, out, say)
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)

	code, out = run(t, "adopt", "--plan", "--disk", newFactory(t).box(t).disk)
	require.Equal(t, exitDisk, code, out)
	require.Contains(t, out, "in the way: it is a Pawl disk already")
	for says, args := range map[string][]string{
		`"plan" not set`: {"--disk", path}, `"disk" not set`: {"--plan"}, "--plan=false": {"--plan=false", "--disk", path},
		"--disk: stat /gone": {"--plan", "--disk", "/gone"},
	} {
		code, out = run(t, append([]string{"adopt"}, args...)...)
		require.Equal(t, exitUsage, code, out)
		require.Contains(t, out, says)
	}
}
