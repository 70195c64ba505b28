package partition

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// Whatever holds a disk, and wherever its mark lies, is named and not taken for an empty disk; a wipe makes it one.
func TestWhatIsOnADiskIsNamed(t *testing.T) {
	const size = 80*mib + 12345*512
	type place struct {
		name, text string
		at         int64
	}
	var places []place
	for _, m := range marks {
		for _, at := range m.at {
			places = append(places, place{m.name, m.text, at})
		}
	}
	for _, at := range []int64{(size - 8<<10) &^ 4095, size&^(64<<10-1) - 64<<10} {
		places = append(places, place{"a Linux RAID member", "\xfc\x4e\x2b\xa9", at})
	}
	for _, at := range []int64{128 << 10, 256<<10 + 255<<10, size&^(256<<10-1) - 384<<10, size&^(256<<10-1) - 1<<10} {
		places = append(places, place{"a member of a ZFS pool", "\x0c\xb1\xba\x00\x00\x00\x00\x00", at})
		places = append(places, place{"a member of a ZFS pool", "\x00\x00\x00\x00\x00\xba\xb1\x0c", at})
	}
	require.Greater(t, len(places), 130)
	for _, p := range places {
		d := disktest.New(size, 512)
		at := p.at
		if at < 0 {
			at += size
		}
		_, err := d.WriteAt([]byte(p.text), at)
		require.NoError(t, err)
		_, err = Read(d)
		require.ErrorIs(t, err, ErrForeign, "%q at %d", p.text, p.at)
		require.ErrorContains(t, err, "found "+p.name, "%q at %d", p.text, p.at)
		require.NoError(t, Wipe(d))
		_, err = Read(d)
		require.ErrorIs(t, err, ErrNoTable, "%q at %d", p.text, p.at)
	}
}

// A disk that cannot be read where a mark may be is not taken for an empty one.
func TestADiskThatCannotBeReadIsNotEmpty(t *testing.T) {
	for _, at := range []int64{0, 512, 4096, 64 << 10, 200 << 10, -512, -300 << 10} {
		d := disktest.New(80*mib, 512)
		_, err := Read(unreadable{d, (at + d.Size()) % d.Size()})
		require.Error(t, err, at)
		require.NotErrorIs(t, err, ErrNoTable, "%d", at)
	}
}

// unreadable has one sector that cannot be read.
type unreadable struct {
	*disktest.Disk
	at int64
}

func (u unreadable) ReadAt(p []byte, off int64) (int, error) {
	if off <= u.at && u.at < off+int64(len(p)) || off >= u.at && off < u.at+512 {
		return 0, errors.New("input/output error")
	}
	return u.Disk.ReadAt(p, off)
}

// What partitions of a sound table hold is no concern of the table, whichever of its copies is left.
func TestMarksInPartitionsAreNotTheDisks(t *testing.T) {
	d, l := installed(t, 16*mib, 512)
	for _, p := range l.Partitions {
		_, err := d.WriteAt([]byte(strings.Repeat("LUKS\xba\xbe", 1)), p.First*512)
		require.NoError(t, err)
		_, err = d.WriteAt([]byte("\x5e\xf1\xab\x2f"), p.First*512+mib-4096)
		require.NoError(t, err)
	}
	_, err := d.WriteAt(make([]byte, 512), 0)
	require.NoError(t, err)
	now, err := Read(d)
	require.NoError(t, err)
	require.Equal(t, entries(l), entries(now))
}
