package partition

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

func TestApplyRefusesWhatWouldLoseAPartition(t *testing.T) {
	d, there := installed(t, 64*mib, 512)
	edit := func(change func(*Layout)) Layout {
		l := there
		l.Partitions = append([]Partition{}, there.Partitions...)
		change(&l)
		return l
	}
	for name, c := range map[string]struct {
		layout Layout
		says   string
	}{
		"new table": {planned(t, nil, 64*mib, 512, small("other")),
			"partition 1 (EFI) in sectors 2048 to 10239 is on the disk"},
		"removed": {edit(func(l *Layout) { l.Partitions = l.Partitions[:4] }), "partition 5 (EPHEMERAL)"},
		"moved": {edit(func(l *Layout) { l.Partitions[4].First += 8; l.Partitions[4].Sectors -= 8 }),
			"partition 5 (EPHEMERAL)"},
		"shrunk":     {edit(func(l *Layout) { l.Partitions[1].Sectors-- }), "partition 2 (BIOS)"},
		"renumbered": {edit(func(l *Layout) { l.Partitions[1].Number = 9 }), "partition 2 (BIOS)"},
		"overlap":    {edit(func(l *Layout) { l.Partitions[1].Sectors++ }), "overlap"},
		"other disk": {planned(t, nil, 32*mib, 512, small("x")), "plan it for this disk"},
		"no GUID":    {edit(func(l *Layout) { l.GUID = uuid.Nil }), "no GUID"},
		"same GUID": {edit(func(l *Layout) {
			p := Partition{Number: 6, GUID: l.Partitions[0].GUID, Type: TypeLinux, First: 100, Sectors: 1}
			l.Partitions = append(l.Partitions, p)
		}), "not the one of"},
	} {
		t.Run(name, func(t *testing.T) {
			d.Record()
			require.ErrorContains(t, Apply(d, c.layout), c.says)
			require.Empty(t, d.Trace().Ops, "nothing was changed")
		})
	}
}

func TestGrow(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		small, before := installed(t, 64*mib, sector)
		same, err := Grow(before, 64*mib)
		require.NoError(t, err)
		require.Equal(t, entries(before), entries(same))

		d := small.Resized(100 * mib)
		current, err := Read(d)
		require.NoError(t, err)
		require.Len(t, current.Problems, 1)
		require.Contains(t, current.Problems[0], "the disk grew")

		grown, err := Grow(current, d.Size())
		require.NoError(t, err)
		require.Equal(t, entries(before)[:4], entries(grown)[:4])
		require.Equal(t, (100-1)*int64(mib), (grown.Partitions[4].Last()+1)*int64(sector))
		require.NoError(t, Apply(d, grown))
		got, err := Read(d)
		require.NoError(t, err)
		require.Empty(t, got.Problems)
		require.Equal(t, entries(grown), entries(got))
		require.Equal(t, d.Size()/int64(sector)-1, got.backupAt)
	}
}

// The partition that grows is the one that lies last, whatever its number.
func TestGrowGoesByPlaceAndNotByNumber(t *testing.T) {
	d, l := installed(t, 16*mib, 512)
	require.NoError(t, Wipe(d))
	for i := range l.Partitions {
		l.Partitions[i].Number, l.Partitions[i].raw = 9-l.Partitions[i].Number, ""
	}
	slices.Reverse(l.Partitions)
	require.NoError(t, Apply(d, l))
	d = d.Resized(24 * mib)
	now, err := Read(d)
	require.NoError(t, err)
	grown, err := Grow(now, d.Size())
	require.NoError(t, err)
	require.Equal(t, "EPHEMERAL", grown.Partitions[0].Label)
	require.Equal(t, 23*int64(mib), (grown.Partitions[0].Last()+1)*512)
	require.Equal(t, now.Partitions[1:], grown.Partitions[1:])
	require.NoError(t, Apply(d, grown))
}

// A device that says that it wrote and did not is found out before anybody relies on the table.
func TestApplyReadsBack(t *testing.T) {
	d := disktest.New(16*mib, 512)
	require.ErrorContains(t, Apply(forgetful{d}, planned(t, nil, 16*mib, 512, small("x"))), "verify partition table")
}

// forgetful is a device that keeps nothing at its end.
type forgetful struct{ *disktest.Disk }

func (f forgetful) WriteAt(p []byte, off int64) (int, error) {
	if off > f.Size()/2 {
		return len(p), nil
	}
	return f.Disk.WriteAt(p, off)
}

func TestTheBackupFollowsADiskThatGrewAndNothingElse(t *testing.T) {
	small, before := installed(t, 64*mib, 512)
	d := small.Resized(100 * mib)
	current, err := Read(d)
	require.NoError(t, err)
	require.NoError(t, Apply(d, planned(t, &current, d.Size(), 512, nil)))
	got, err := Read(d)
	require.NoError(t, err)
	require.Empty(t, got.Problems)
	require.Equal(t, entries(before), entries(got))
}

func TestVerifySaysWhatDiffers(t *testing.T) {
	d, l := installed(t, 64*mib, 512)
	require.NoError(t, Verify(d, l))
	for says, off := range map[string]int64{
		"primary copy: checksum of the header":  512 + 60,
		"primary copy: checksum of the entries": 1024,
		"backup copy: checksum of the entries":  d.Size() - 33*512,
		"backup copy: no signature":             d.Size() - 512,
		"no protective MBR":                     510,
	} {
		c := d.Clone()
		_, _ = c.WriteAt([]byte{0xff}, off)
		require.ErrorContains(t, Verify(c, l), says)
	}
	other := planned(t, nil, 64*mib, 512, small("other"))
	require.ErrorContains(t, Verify(d, other), "primary copy: header")
}

func TestWipe(t *testing.T) {
	d, l := installed(t, 16*mib, 512)
	_, _ = d.WriteAt([]byte("kept"), 8*mib)
	ones := bytes.Repeat([]byte{1}, 16*mib)
	p, err := l.Find("EPHEMERAL")
	require.NoError(t, err)
	_, _ = d.WriteAt(ones[:l.Bytes(p)], p.First*512)
	before := content(t, d)

	require.NoError(t, Wipe(Section(d, p)))
	after := content(t, d)
	first, end := p.First*512, (p.Last()+1)*512
	require.True(t, bytes.Equal(before[:first], after[:first]), "before the partition")
	require.True(t, bytes.Equal(before[end:], after[end:]), "after the partition")
	require.True(t, bytes.Equal(make([]byte, mib), after[first:first+mib]))
	require.True(t, bytes.Equal(make([]byte, mib), after[end-mib:end]))
	require.NoError(t, Verify(d, l))

	require.NoError(t, Wipe(d))
	_, err = Read(d)
	require.ErrorIs(t, err, ErrNoTable)
	require.NoError(t, Wipe(disktest.New(4096, 512)), "smaller than what is wiped")

	// The end first and the start last, each flushed: until the end it is what it was, for whoever looks at its start.
	e, _ := installed(t, 80*mib, 512)
	_, _ = e.WriteAt(bytes.Repeat([]byte{1}, 72*mib), 512)
	e.Record()
	require.NoError(t, Wipe(e))
	var order []int64
	for _, o := range e.Trace().Ops {
		if o.Action == disktest.Flush {
			o.Off = -1
		}
		order = append(order, o.Off)
	}
	require.Equal(t, []int64{79 * mib, -1, 64 * mib, 4 * mib, 2 * mib, mib, -1, 0, -1}, order)
	e.Record()
	require.NoError(t, Wipe(e))
	require.Empty(t, e.Trace().Ops, "what is zero already is not written")

	btrfs := disktest.New(80*mib, 512)
	_, _ = btrfs.WriteAt([]byte("_BHRfS_M"), 64*mib+64)
	require.NoError(t, Wipe(btrfs))
	require.True(t, bytes.Equal(make([]byte, 80*mib), content(t, btrfs)))
}

// A wipe that meets a fault says so, has touched nothing else, and can be run again.
func TestFaultsOfAWipe(t *testing.T) {
	d, l := installed(t, 16*mib, 512)
	p, err := l.Find("EPHEMERAL")
	require.NoError(t, err)
	ones := bytes.Repeat([]byte{1}, int(l.Bytes(p)))
	_, _ = d.WriteAt(ones, p.First*512)
	before := content(t, d)
	struck := 0
	require.NoError(t, d.EachFault(func(d *disktest.Disk) error { return Wipe(Section(d, p)) },
		func(f disktest.Fault, n int, left *disktest.Disk, result error) error {
			struck++
			after := content(t, left)
			first, end := p.First*512, (p.Last()+1)*512
			if result == nil && f != disktest.ReadFails || !bytes.Equal(before[:first], after[:first]) ||
				!bytes.Equal(before[end:], after[end:]) {
				return fmt.Errorf("%v %d: %v, or something else was written", f, n, result)
			}
			if err := Wipe(Section(left, p)); err != nil {
				return err
			}
			after = content(t, left)
			if !bytes.Equal(make([]byte, mib), after[first:first+mib]) || !bytes.Equal(make([]byte, mib),
				after[end-mib:end]) {
				return fmt.Errorf("%v %d: run again, and not wiped", f, n)
			}
			return nil
		}))
	require.Equal(t, 6*3+3+6, struck, "looks and writes at the end, at 4, 2 and 1 MiB, 1.5 MiB before the end and at "+
		"the start, in three ways each, and three flushes")
}

func TestABootCodeAndAHybridTableStay(t *testing.T) {
	d, l := installed(t, 64*mib, 512)
	_, _ = d.WriteAt([]byte("boot code"), 0)
	hybrid := []byte{0x80, 0, 0, 0, 0x0c, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0}
	_, _ = d.WriteAt(hybrid, mbrTable+mbrEntry)
	before := content(t, d)[:512]
	require.NoError(t, Apply(d, planned(t, &l, d.Size(), 512, nil)))
	more := []Spec{{Label: "more", Type: TypeLinux, GUID: uuid.New(), Size: 1}}
	shrunk := l
	shrunk.Partitions = shrunk.Partitions[:4]
	e := disktest.New(64*mib, 512)
	_, _ = e.WriteAt(before, 0)
	_, err := Read(e)
	require.ErrorIs(t, err, ErrDamaged, "a protective MBR and no table")
	require.NoError(t, Wipe(e))
	require.NoError(t, Apply(e, shrunk))
	_, _ = e.WriteAt(before, 0)
	now, err := Read(e)
	require.NoError(t, err)
	require.NoError(t, Apply(e, planned(t, &now, e.Size(), 512, more)))
	require.Equal(t, before, content(t, e)[:512])
}
