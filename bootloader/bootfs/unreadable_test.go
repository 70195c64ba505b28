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

// Firmware reads the pages around a directory and around the ends of a file as a whole. A sector in them that an
// earlier cut left unreadable, and that is nobody's, must not keep a new file from being loaded.
func TestANewFileHasNoUnreadableSectorAroundIt(t *testing.T) {
	d := disktest.New(40<<20, 512)
	require.NoError(t, bootfs.Format(d, bootfs.FormatOptions{}))
	f, err := bootfs.Open(d, bootfs.Options{Zones: []string{"A", "B"}})
	require.NoError(t, err)
	require.NoError(t, f.Mkdir("A"))
	require.NoError(t, f.Mkdir("B"))
	d.Record()
	require.NoError(t, f.WriteFile("B/OS.EFI", make([]byte, 5000)))
	dir := int64(-1)
	for _, o := range d.Trace().Ops {
		if bytes.Contains(o.Data, []byte("OS      EFI")) {
			dir = o.Off
		}
	}
	require.Positive(t, dir)
	require.NoError(t, f.Clear("B"))
	d.Spoil(dir+512, 64<<10-4096) // free clusters behind the directory, up to near the end of its page
	require.NoError(t, f.WriteFile("B/OS.EFI", make([]byte, 5000)))
	_, err = d.ReadAt(make([]byte, 64<<10-4096), dir)
	require.NoError(t, err)

	// The same around a file that stays: the next file of the zone mends it.
	d.Spoil(dir+16<<10, 4096)
	require.NoError(t, f.WriteFile("B/MANIFEST", make([]byte, 300)))
	_, err = d.ReadAt(make([]byte, 64<<10-4096), dir)
	require.NoError(t, err)
}

// Overwrite mends the whole block of its file, also when an earlier run was cut after its first sector.
func TestOverwriteMendsTheRestOfItsBlock(t *testing.T) {
	d := disktest.New(40<<20, 512)
	require.NoError(t, bootfs.Format(d, bootfs.FormatOptions{}))
	f, err := bootfs.Open(d, bootfs.Options{})
	require.NoError(t, err)
	d.Record()
	require.NoError(t, f.WriteFile("ENTRY", bytes.Repeat([]byte("a"), 512)))
	at := d.Trace().Ops[d.Trace().Writes()[0]].Off
	require.Zero(t, at%4096)
	d.Spoil(at+512, 4096-512)
	require.NoError(t, f.Overwrite("ENTRY", bytes.Repeat([]byte("b"), 512)))
	block := make([]byte, 4096)
	_, err = d.ReadAt(block, at)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte("b"), 512), block[:512])
}
