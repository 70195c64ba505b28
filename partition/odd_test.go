package partition

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// header changes a copy's header, and puts its checksums right.
func (o oddDisk) header(at int64, change func(h []byte)) {
	h := make([]byte, 512)
	_, err := o.ReadAt(h, at*512)
	require.NoError(o.t, err)
	was := int64(binary.LittleEndian.Uint64(h[72:]))
	entries := make([]byte, newEntries*entrySize)
	_, err = o.ReadAt(entries, was*512)
	require.NoError(o.t, err)
	change(h)
	count, width := int(binary.LittleEndian.Uint32(h[80:])), int(binary.LittleEndian.Uint32(h[84:]))
	spread := make([]byte, count*width)
	for i := range min(count, 8) {
		copy(spread[i*width:], entries[i*entrySize:][:entrySize])
	}
	is := int64(binary.LittleEndian.Uint64(h[72:]))
	if is != was {
		_, err = o.WriteAt(make([]byte, len(entries)), was*512)
		require.NoError(o.t, err)
	}
	_, err = o.WriteAt(spread, is*512)
	require.NoError(o.t, err)
	binary.LittleEndian.PutUint32(h[88:], sum(spread))
	_, err = o.WriteAt(resum(h), at*512)
	require.NoError(o.t, err)
}

func (o oddDisk) both(change func(h []byte)) {
	o.header(1, change)
	o.header(o.Size()/512-1, change)
}

// entry changes an entry in both copies.
func (o oddDisk) entry(n int, change func(e []byte)) {
	for _, at := range []int64{1024, o.Size() - 33*512} {
		e := make([]byte, entrySize)
		_, err := o.ReadAt(e, at+int64(n-1)*entrySize)
		require.NoError(o.t, err)
		change(e)
		_, err = o.WriteAt(e, at+int64(n-1)*entrySize)
		require.NoError(o.t, err)
	}
	o.both(func([]byte) {})
}

func (o oddDisk) zero(sector, n int64) {
	_, err := o.WriteAt(make([]byte, n*512), sector*512)
	require.NoError(o.t, err)
}

type oddDisk struct {
	*disktest.Disk
	t *testing.T
}

func set64(at int, v uint64) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) }
}

func moved(h []byte) {
	if binary.LittleEndian.Uint64(h[24:]) == 1 {
		binary.LittleEndian.PutUint64(h[72:], 1000)
	}
	binary.LittleEndian.PutUint64(h[40:], 2048)
}

// What others leave of a table: what is said, and what a repair writes, in sectors; the rest of the disk it leaves
// alone.
func TestTablesOfOthersAreMended(t *testing.T) {
	const last = 16*mib/512 - 1
	for name, c := range map[string]struct {
		do     func(o oddDisk)
		says   string // one problem; "" is none
		writes []int64
		left   string // what the repair cannot mend
	}{
		"64 entries": {func(o oddDisk) {
			o.both(func(h []byte) {
				binary.LittleEndian.PutUint32(h[80:],
					64)
			})
		}, "", nil, ""},
		"entries of 256 bytes": {func(o oddDisk) {
			o.both(func(h []byte) {
				binary.LittleEndian.PutUint32(h[84:],
					256)
				h[80] = 64
			})
		}, "", nil, ""},
		"a moved table": {func(o oddDisk) { o.both(moved) }, "", nil, ""},
		"a moved table, its header lost": {func(o oddDisk) { o.both(moved); o.zero(1, 1) },
			"the primary copy is damaged", []int64{1}, ""},
		"a moved table, all of it lost, and something else in its usual place": {
			func(o oddDisk) {
				o.both(moved)
				o.zero(1, 1)
				o.zero(1000, 32)
				_, _ = o.WriteAt([]byte("boot code"), 16*512)
			},
			"the primary copy is damaged", []int64{1, 2016}, ""},
		"all of the primary copy lost": {func(o oddDisk) { o.zero(1, 33) }, "the primary copy is damaged",
			[]int64{1, 2}, ""},
		"the header of the primary copy lost": {func(o oddDisk) { o.zero(1, 1) }, "the primary copy is damaged",
			[]int64{1}, ""},
		"the backup names the primary's entries": {func(o oddDisk) { o.header(last, set64(72, 2)) },
			"the backup copy has no entries of its own: its header names those of the primary copy, in sector 2",
			[]int64{last - 32, last}, ""},
		"the backup's entries are elsewhere, after the usable": {func(o oddDisk) {
			o.both(set64(48, last-100))
			o.header(last, set64(72, last-90))
		}, "", nil, ""},
		"the primary says that it is elsewhere": {func(o oddDisk) { o.header(1, set64(24, 2)) },
			"header says that it is in sector 2, and is in 1", []int64{1}, ""},
		"the primary names another sector for the backup": {func(o oddDisk) { o.header(1, set64(32, 5000)) },
			"the copies differ", []int64{1}, ""},
		"the primary names a backup beyond the disk": {func(o oddDisk) { o.header(1, set64(32, 1<<30)) },
			"the copies differ", []int64{1}, ""},
		"first usable sector within the table": {func(o oddDisk) { o.both(set64(40, 20)) },
			"usable sectors 20 to 32734, and the table has its own entries in 2 to 33", []int64{1, last}, ""},
		"a partition before the usable sectors": {func(o oddDisk) { o.both(set64(40, 4096)) },
			"partition 1 (EFI): sectors 2048 to 10239 are outside of the usable 4096 to 32734", []int64{1, last}, ""},
		"a partition behind the usable sectors": {func(o oddDisk) { o.both(set64(48, 20000)) },
			"partition 5 (EPHEMERAL): sectors 18432 to 30719 are outside of the usable 34 to 20000", []int64{1, last},
			""},
		"one entry that ends before it begins": {func(o oddDisk) { o.entry(5, set64(40, 3)) },
			"entry 5 is no partition (sectors 18432 to 3); it is kept", nil, "entry 5 is no partition"},
		"one entry beyond any disk": {func(o oddDisk) { o.entry(5, set64(40, 1<<63)) },
			"entry 5 is no partition", nil, "entry 5 is no partition"},
		"one entry in sector 0, and the backup damaged": {func(o oddDisk) { o.entry(5, set64(32, 0)); o.zero(last, 1) },
			"", []int64{last}, "entry 5 is no partition"},
		"entries that overlap": {func(o oddDisk) { o.entry(2, set64(32, 9000)) },
			"partition 1 (EFI) and partition 2 (BIOS) overlap at sector 9000", nil, "overlap"},
		"entries that overlap, and the backup damaged": {func(o oddDisk) {
			o.entry(2, set64(32, 9000))
			o.zero(last,
				1)
		},
			"", []int64{last}, "overlap"},
		"protective MBR missing": {func(o oddDisk) { o.zero(0, 1) }, "the protective MBR is missing", []int64{0}, ""},
		"protective MBR that begins at 0": {func(o oddDisk) { _, _ = o.WriteAt([]byte{0}, mbrTable+8) },
			"the protective MBR is wrong: it begins at sector 0 and not at 1", []int64{0}, ""},
		"protective MBR that begins at 2": {func(o oddDisk) { _, _ = o.WriteAt([]byte{2}, mbrTable+8) },
			"the protective MBR is wrong: it begins at sector 2 and not at 1", []int64{0}, ""},
		"protective MBR without signature": {func(o oddDisk) { _, _ = o.WriteAt([]byte{0}, 510) },
			"the protective MBR is wrong: it has no signature", []int64{0}, ""},
		"the first 4 KiB": {func(o oddDisk) { _, _ = o.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), 0) }, "",
			[]int64{0, 1, 2}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, was := installed(t, 16*mib, 512)
			o := oddDisk{d, t}
			c.do(o)
			l, err := Read(d)
			require.NoError(t, err)
			if c.says != "" {
				require.Len(t, l.Problems, 1, "%q", l.Problems)
				require.Contains(t, l.Problems[0], c.says)
			}
			require.GreaterOrEqual(t, len(entries(l)), len(entries(was))-1)

			before := content(t, d)
			plan, err := Plan(&l, d.Size(), 512, nil)
			require.NoError(t, err)
			d.Record()
			require.NoError(t, Apply(d, plan))
			var wrote []int64
			for _, op := range d.Trace().Ops {
				if op.Action == disktest.Write {
					wrote = append(wrote, op.Off/512)
				}
			}
			require.ElementsMatch(t, c.writes, wrote)
			after := content(t, d)
			require.True(t, bytes.Equal(before[34*512:1000*512], after[34*512:1000*512]),
				"between the table and the partitions")
			if c.writes == nil {
				require.True(t, bytes.Equal(before, after))
			}
			again, err := Read(d)
			require.NoError(t, err)
			require.Equal(t, entries(l), entries(again))
			if c.left == "" {
				require.Empty(t, again.Problems)
			} else {
				require.Len(t, again.Problems, 1)
				require.Contains(t, again.Problems[0], c.left)
			}
		})
	}
}

// An entry that is no partition keeps its place and its bytes when a partition is added.
func TestAnEntryThatIsNoPartitionIsKept(t *testing.T) {
	d, _ := installed(t, 16*mib, 512)
	oddDisk{d, t}.entry(5, set64(40, 3))
	l, err := Read(d)
	require.NoError(t, err)
	require.NoError(t, Apply(d, planned(t, &l, d.Size(), 512,
		[]Spec{{Label: "more", Type: TypeLinux, GUID: uuid.New(), Size: mib}})))
	again, err := Read(d)
	require.NoError(t, err)
	require.Equal(t, l.bad, again.bad)
	p, err := again.Find("more")
	require.NoError(t, err)
	require.Equal(t, 6, p.Number)
}

// A disk that became smaller: the primary copy counts; the backup is put at the new end where the partitions leave
// room, else it is said.
func TestADiskThatIsSmallerThanItsTableSays(t *testing.T) {
	big, was := installed(t, 16*mib, 512)
	d := big.Resized(16*mib - 8*512)
	l, err := Read(d)
	require.NoError(t, err)
	require.Equal(t, entries(was), entries(l))
	require.Equal(t, []string{"the primary copy is whole, but it is of a disk of 32768 sectors and this one has " +
		"32760: the backup copy would lie beyond its end"}, l.Problems)
	plan, err := Plan(&l, d.Size(), 512, nil)
	require.NoError(t, err)
	require.NoError(t, Apply(d, plan))
	l, err = Read(d)
	require.NoError(t, err)
	require.Empty(t, l.Problems)
	require.Equal(t, entries(was), entries(l))

	d = big.Resized(14 * mib)
	l, err = Read(d)
	require.NoError(t, err)
	require.Contains(t, strings.Join(l.Problems, "\n"), "the primary copy is whole")
	_, err = Plan(&l, d.Size(), 512, nil)
	require.ErrorContains(t, err, "the disk has 28672 sectors, and partition 5 (EPHEMERAL) reaches to sector 30719")
	require.ErrorContains(t, err, "make the disk larger again")
}
