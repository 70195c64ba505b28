package bootfs_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/disktest"
)

// A cut can leave a zone's directory unreadable. Clear mends it, so the room must be known before.
func TestFreeOfAZoneWhoseDirectoryCannotBeRead(t *testing.T) {
	d := disktest.New(40<<20, 512)
	require.NoError(t, bootfs.Format(d, bootfs.FormatOptions{}))
	o := bootfs.Options{Zones: []string{"A", "B"}}
	f, err := bootfs.Open(d, o)
	require.NoError(t, err)
	require.NoError(t, f.Mkdir("A"))
	require.NoError(t, f.Mkdir("B"))
	before, err := f.Free("B")
	require.NoError(t, err)
	require.NoError(t, f.WriteFile("B/OS.EFI", make([]byte, 5000)))

	sector := make([]byte, 512)
	for off := int64(0); !bytes.Contains(sector, []byte("OS      EFI")); off += 512 {
		_, err := d.ReadAt(sector, off)
		require.NoError(t, err)
		if bytes.Contains(sector, []byte("OS      EFI")) {
			d.Spoil(off, 512)
		}
	}
	f, err = bootfs.Open(d, o)
	require.NoError(t, err)
	_, err = f.ReadFile("B/OS.EFI")
	require.ErrorIs(t, err, disktest.ErrUnreadable)
	free, err := f.Free("B")
	require.NoError(t, err)
	require.Positive(t, free)
	require.NoError(t, f.Clear("B"))
	free, err = f.Free("B")
	require.NoError(t, err)
	require.Equal(t, before, free)
}
