//go:build vm

package proof

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// A trial that systemd-boot counts in the name of its entry, on firmware that forgets all variables with the power: two
// boots, then the default for good. The model renames as OVMF's driver does, so after each boot the directory on either
// disk is the same.
func TestCountedEntriesOnRealFirmware(t *testing.T) {
	const within = 6 * time.Minute
	kit, err := realKit(t.Context(), t.TempDir(), loaders.SystemdBoot)
	require.NoError(t, err)
	m, err := base(kit, bootloader.A)
	require.NoError(t, err)
	require.NoError(t, m.upgrade(next, upgrade.Options{Way: "counting", Tries: 2}))
	dir := t.TempDir()
	c := bootCase{kit: kit, disk: m.disk}
	path, err := c.write(dir)
	require.NoError(t, err)
	for boot, want := range []bootloader.Slot{bootloader.B, bootloader.B, bootloader.A, bootloader.A} {
		m.vars, c.vars = efivar.NewMemory(), efivar.NewMemory()
		require.NoError(t, m.boot())
		require.Equal(t, want, m.last.Slot, "%v", m.last)
		c.model = m.last
		variables := filepath.Join(dir, "variables")
		require.NoError(t, c.writeVariables(variables))
		vm, err := vmtest.Start(t.Context(), vmtest.Config{Disks: []vmtest.Disk{{Path: path, PCI: 2}},
			Variables: variables, NoNetwork: true, Memory: 256})
		require.NoError(t, err)
		found, err := vm.Expect(said+`(\S+ .*?) \.|(`+nothing+`)`, within)
		require.NoError(t, err)
		require.NoError(t, vm.Kill())
		require.Equal(t, c.says(), found[1])
		require.Equal(t, entries(t, m.disk), inFile(t, path), "after boot %d", boot+1)
	}
}

// inFile is entries of a disk in a file.
func inFile(t *testing.T, path string) []string {
	t.Helper()
	raw, err := disk.Open(path)
	require.NoError(t, err)
	defer raw.Close()
	return entries(t, raw)
}

// entries is what loader/entries holds, in its order, on a boot file system that is whole.
func entries(t *testing.T, dev Device) []string {
	t.Helper()
	layout, err := partition.Read(dev)
	require.NoError(t, err)
	p, err := layout.Find("EFI")
	require.NoError(t, err)
	f, err := bootfs.Open(partition.Section(dev, p), bootfs.Options{})
	require.NoError(t, err)
	problems, err := f.Check()
	require.NoError(t, err)
	require.Empty(t, problems)
	list, err := f.ReadDir("loader/entries")
	require.NoError(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}
