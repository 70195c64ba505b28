package node

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// The service says that the second boot file system is not in step, and brings it in step: when it has started, after a
// confirm (which is the same call), and by a repair.
func TestTheServiceKeepsTheMirror(t *testing.T) {
	path, vars := filepath.Join(t.TempDir(), "disk.raw"), efivar.NewMemory()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	one, err := images.Image("1.0.0", virtual.Spec{})
	require.NoError(t, err)
	raw, err := disk.Create(path, 2*virtual.Size)
	require.NoError(t, err)
	require.NoError(t, upgrade.Install(t.Context(), raw, one, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()}))
	_, err = predict.Boot(raw, vars, predict.Options{})
	require.NoError(t, err)
	require.NoError(t, raw.Close())
	o := upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string), BootID: "boot-1",
		Version: "1.0.0"}
	newMirror(t, path, o)

	s, err := New(Config{Disk: path, Machine: o})
	require.NoError(t, err)
	_, err = s.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	said := func() string {
		t.Helper()
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		return strings.Join(st.Warnings, "\n")
	}
	require.Contains(t, said(), "The firmware would not go on to it", "Start has made the first entry of our own")
	require.NoError(t, s.Prove(t.Context()))
	require.Empty(t, said())

	spoil(t, path)
	require.Contains(t, said(), "is not in step: EFI/BOOT/BOOTX64.EFI is missing")
	require.NoError(t, s.Repair(t.Context()))
	require.Empty(t, said())
	spoil(t, path)
	s.ownMirror(t.Context())
	require.Empty(t, said())
}

// newMirror makes a mirror on a machine's own disk.
func newMirror(t *testing.T, path string, o upgrade.OpenOptions) {
	t.Helper()
	raw, err := partition.Open(path, partition.OpenOptions{})
	require.NoError(t, err)
	m, err := upgrade.OpenDevice(raw, o)
	require.NoError(t, err)
	guid, err := mirror.Lay(m, raw)
	require.NoError(t, err)
	m, err = upgrade.OpenDevice(raw, o)
	require.NoError(t, err)
	_, err = mirror.Make(t.Context(), m, mirror.Elsewhere{}, guid)
	require.NoError(t, err)
	require.NoError(t, raw.Close())
}

// spoil takes the mirror's loader away.
func spoil(t *testing.T, path string) {
	t.Helper()
	raw, err := partition.Open(path, partition.OpenOptions{Partitions: true})
	require.NoError(t, err)
	p, err := raw.Partition(string(partition.Mirror))
	require.NoError(t, err)
	f, err := bootfs.Open(p, bootfs.Options{Zones: bootloader.Zones()})
	require.NoError(t, err)
	require.NoError(t, f.Remove("EFI/BOOT/BOOTX64.EFI"))
	require.NoError(t, p.Close())
	require.NoError(t, raw.Close())
}
