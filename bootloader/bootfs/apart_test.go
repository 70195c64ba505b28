package bootfs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

var threeZones = []string{"EFI/pawl/A", "EFI/pawl/B", "EFI/BOOT"}

// A volume as an install makes it. With the pages of real firmware, so that it is large enough for a FAT32.
func threeZoned(t *testing.T, zonesWhenFilled []string) *disktest.Disk {
	t.Helper()
	dev := disktest.New(40<<20, 512)
	require.NoError(t, bootfs.Format(dev, bootfs.FormatOptions{Time: clock()}))
	f, err := bootfs.Open(dev, bootfs.Options{Zones: zonesWhenFilled, Now: clock})
	require.NoError(t, err)
	for _, dir := range threeZones {
		require.NoError(t, f.Mkdir(dir))
		require.NoError(t, f.WriteFile(dir+"/a.efi", content(9, 70_001)))
	}
	require.NoError(t, f.Mkdir("loader"))
	require.NoError(t, f.WriteFile("loader/loader.conf", content(3, 512)))
	return dev
}

func TestZonesAreApart(t *testing.T) {
	dev := threeZoned(t, threeZones)
	f, err := bootfs.Open(dev, bootfs.Options{Zones: threeZones, Now: clock})
	require.NoError(t, err)
	for _, dir := range threeZones {
		require.NoError(t, f.Apart(dir))
	}
	require.NoError(t, f.WriteFile("EFI/BOOT/a.efi", content(11, 90_000)))
	require.NoError(t, f.WriteFile("EFI/pawl/A/a.efi", content(12, 15<<20)), "a slot can have a half, as before")
	require.NoError(t, f.WriteFile("EFI/pawl/B/b.efi", content(12, 10<<20)))
	require.NoError(t, f.Apart("EFI/BOOT"))
	require.ErrorContains(t, f.Apart("loader"), "it is no zone")
}

// A disk that was installed when EFI/BOOT was no zone: its slots are changed as ever, and EFI/BOOT is not apart.
func TestZoneThatWasFilledBeforeItWasOneIsNotApart(t *testing.T) {
	dev := threeZoned(t, threeZones[:2])
	f, err := bootfs.Open(dev, bootfs.Options{Zones: threeZones, Now: clock})
	require.NoError(t, err)
	require.NoError(t, f.Apart("EFI/pawl/A"))
	require.ErrorIs(t, f.Apart("EFI/BOOT"), bootfs.ErrShared)
	require.NoError(t, f.Overwrite("loader/loader.conf", content(4, 512)))
	require.NoError(t, f.Clear("EFI/pawl/B"))
	require.NoError(t, f.WriteFile("EFI/pawl/B/a.efi", content(5, 100_000)))
	require.ErrorIs(t, f.Apart("EFI/BOOT"), bootfs.ErrShared)
}
