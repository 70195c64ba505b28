package partition

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
)

const gib = 1 << 30

// small is a layout for small disks.
func small(seed string) []Spec {
	return Default(Defaults{EFI: 4 * mib, State: 2 * mib, Seed: seed})
}

func planned(t *testing.T, current *Layout, size int64, sector int, specs []Spec) Layout {
	t.Helper()
	l, err := Plan(current, size, sector, specs)
	require.NoError(t, err)
	return l
}

// installed is a disk with a table on it.
func installed(t *testing.T, size int64, sector int) (*disktest.Disk, Layout) {
	t.Helper()
	d := disktest.New(size, sector)
	require.NoError(t, Apply(d, planned(t, nil, size, sector, small("test"))))
	l, err := Read(d)
	require.NoError(t, err)
	require.Empty(t, l.Problems)
	return d, l
}

func TestDefaultLayoutIsTheDocumentedOne(t *testing.T) {
	l := planned(t, nil, 8*gib, 512, Default(Defaults{Seed: "x"}))
	require.NotEqual(t, uuid.Nil, l.GUID)
	const s = mib / 512
	type row struct {
		number         int
		label          string
		typ            uuid.UUID
		first, sectors int64
		attributes     uint64
	}
	var rows []row
	for _, p := range l.Partitions {
		rows = append(rows, row{p.Number, p.Label, p.Type, p.First, p.Sectors, p.Attributes})
	}
	require.Equal(t, []row{
		{1, "EFI", TypeESP, 1 * s, 1024 * s, 1 << 63},
		{2, "BIOS", TypeBIOS, 1025 * s, 1 * s, 1<<63 | 1<<2},
		{3, "META", TypeLinux, 1026 * s, 1 * s, 1 << 63},
		{4, "STATE", TypeLinux, 1027 * s, 100 * s, 1 << 63},
		{5, "EPHEMERAL", TypeLinux, 1127 * s, (8192 - 1127 - 1) * s, 1 << 63},
	}, rows)

	require.Equal(t, l, planned(t, nil, 8*gib, 512, Default(Defaults{Seed: "x"})), "a seed gives the same again")
	require.NotEqual(t, l.GUID, planned(t, nil, 8*gib, 512, Default(Defaults{})).GUID)
}

func TestApplyThenReadGivesTheLayout(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		size := int64(64 * mib)
		d := disktest.New(size, sector)
		_, err := Read(d)
		require.ErrorIs(t, err, ErrNoTable)

		want := planned(t, nil, size, sector, small("a"))
		require.NoError(t, Apply(d, want))
		got, err := Read(d)
		require.NoError(t, err)
		require.Empty(t, got.Problems)
		require.NoError(t, Verify(d, got))
		for i := range got.Partitions {
			require.Len(t, got.Partitions[i].raw, entrySize)
			got.Partitions[i].raw = ""
		}
		got.backupAt = 0
		require.Equal(t, want, got)

		d.Record()
		require.NoError(t, Apply(d, want))
		require.Empty(t, d.Trace().Ops, "nothing that is right is written again")
	}
}

func TestPlanKeepsWhatItDoesNotKnow(t *testing.T) {
	size := int64(64 * mib)
	d := disktest.New(size, 512)
	l := planned(t, nil, size, 512, nil)
	l.GUID = uuid.New()
	foreign := Partition{Number: 7, Label: "other OS", Type: uuid.New(), GUID: uuid.New(), First: 3000, Sectors: 20000,
		Attributes: 1 << 60}
	esp := Partition{Number: 2, Label: "EFI", Type: TypeESP, GUID: uuid.New(), First: 40960, Sectors: 8 * mib / 512}
	l.Partitions = []Partition{esp, foreign}
	require.NoError(t, Apply(d, l))
	before, err := Read(d)
	require.NoError(t, err)

	after := planned(t, &before, size, 512, small("b"))
	require.Equal(t, before.GUID, after.GUID)
	require.Contains(t, after.Partitions, before.Partitions[0], "an EFI partition that is there is taken as it is")
	require.Contains(t, after.Partitions, before.Partitions[1])
	require.Len(t, after.Partitions, 6)
	require.NoError(t, after.check())
	require.NoError(t, Apply(d, after))
	got, err := Read(d)
	require.NoError(t, err)
	p, err := got.Find("other OS")
	require.NoError(t, err)
	require.Equal(t, before.Partitions[1], p, "every byte of the entry")

	require.Equal(t, after, planned(t, &after, size, 512, small("c")), "planning again changes nothing")
}

func TestPlanRefuses(t *testing.T) {
	_, there := installed(t, 64*mib, 512)
	big := small("x")
	big[0].Size = 8 * mib
	typ := small("x")
	typ[3].Type = uuid.New()
	twice := append(small("x"), small("x")[0])
	noGUID := small("x")
	noGUID[1].GUID = uuid.Nil
	long := []Spec{{Label: strings.Repeat("x", 37), Type: TypeLinux, GUID: uuid.New(), Size: 1}}
	same := there
	same.Partitions = append(append([]Partition{}, there.Partitions...), there.Partitions[2])
	same.Partitions[5].Number = 6
	for name, c := range map[string]struct {
		current *Layout
		size    int64
		sector  int
		specs   []Spec
		is      error
		says    string
	}{
		"partition too small": {&there, 64 * mib, 512, big, ErrNoSpace,
			"partition 1 (EFI) has 4194304 bytes, want 8388608"},
		"other type": {&there, 64 * mib, 512, typ, ErrForeign, "partition 4 (STATE) is of type 0fc63daf"},
		"disk too small": {nil, 1 * gib, 512, Default(Defaults{}), ErrNoSpace,
			"partition EFI needs 1073741824 bytes and the largest free area has 1071644672"},
		"no room for the rest": {nil, 10 * mib, 512, small("x"), ErrNoSpace, "partition EPHEMERAL needs"},
		"no room for a table":  {nil, 4096, 512, nil, ErrNoSpace, "does not hold a partition table"},
		"sector size":          {nil, 64 * mib, 520, nil, nil, "sector size 520"},
		"other sector size":    {&there, 64 * mib, 4096, nil, nil, "sectors of 512 bytes, and the disk has 4096"},
		"disk that shrank": {&there, 32 * mib, 512, nil, ErrForeign,
			"the disk has 65536 sectors, and partition 5 (EPHEMERAL) reaches to"},
		"label twice":           {nil, 64 * mib, 512, twice, nil, "wanted twice"},
		"no GUID":               {nil, 64 * mib, 512, noGUID, nil, "partition BIOS"},
		"label too long":        {nil, 64 * mib, 512, long, nil, "at most 36"},
		"label twice on disk":   {&same, 64 * mib, 512, small("x"), ErrForeign, "overlap"},
		"table without a place": {full(t), 64 * mib, 512, small("x"), ErrNoSpace, "all 4 places"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Plan(c.current, c.size, c.sector, c.specs)
			require.ErrorContains(t, err, c.says)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
		})
	}
}

func full(t *testing.T) *Layout {
	l := planned(t, nil, 64*mib, 512, small("x")[:2])
	l.Entries = 4
	return &l
}

// Whatever is there and whatever is asked for: nothing known overlaps, moves, shrinks or goes missing.
func TestPlanOnRandomDisks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		sector := []int{512, 4096}[r.IntN(2)]
		size := int64(16+r.IntN(200)) * mib
		cur := planned(t, nil, size, sector, nil)
		for at := cur.FirstUsable + int64(r.IntN(5000)); len(cur.Partitions) < 6; {
			p := Partition{Number: 1 + 3*len(cur.Partitions), GUID: uuid.New(), Type: uuid.New(), First: at,
				Sectors: 1 + int64(r.IntN(20*mib/sector))}
			if p.Last() > cur.LastUsable {
				break
			}
			cur.Partitions = append(cur.Partitions, p)
			at = p.Last() + 1 + int64(r.IntN(10*mib/sector))
		}
		got, err := Plan(&cur, size, sector, small("r"))
		if err != nil {
			require.ErrorIs(t, err, ErrNoSpace)
			continue
		}
		require.NoError(t, got.check())
		require.NoError(t, got.keeps(cur))
		for _, s := range small("r") {
			p, err := got.Find(s.Label)
			require.NoError(t, err)
			require.GreaterOrEqual(t, got.Bytes(p), max(s.Size, mib))
			require.Zero(t, p.First*int64(sector)%align)
		}
	}
}

func TestFindNeedsExactlyOne(t *testing.T) {
	_, l := installed(t, 64*mib, 512)
	p, err := l.Find("META")
	require.NoError(t, err)
	require.Equal(t, 3, p.Number)
	_, err = l.Find("BOOT")
	require.ErrorIs(t, err, ErrNotFound)
	l.Partitions[0].Label = "META"
	_, err = l.Find("META")
	require.ErrorContains(t, err, "2 partitions have this label")
}

func TestFindRefusesWhatOverlaps(t *testing.T) {
	_, l := installed(t, 64*mib, 512)
	l.Partitions[4].First = l.Partitions[0].Last()
	for _, label := range []string{"EFI", "EPHEMERAL"} {
		_, err := l.Find(label)
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, "overlap, remove one of them")
	}
	l.Partitions[4].First = l.Partitions[3].First // it has others before it now
	_, err := l.Find("EFI")
	require.NoError(t, err)
}

func TestSectionStaysInside(t *testing.T) {
	d, l := installed(t, 64*mib, 512)
	p, err := l.Find("META")
	require.NoError(t, err)
	s := Section(d, p)
	require.Equal(t, int64(mib), s.Size())
	require.Equal(t, 512, s.SectorSize())
	_, err = s.WriteAt([]byte("end"), mib-3)
	require.NoError(t, err)
	b := make([]byte, 3)
	_, err = d.ReadAt(b, (p.Last()+1)*512-3)
	require.NoError(t, err)
	require.Equal(t, "end", string(b))
	for _, off := range []int64{-1, mib - 2, mib, 1 << 62} {
		_, err = s.WriteAt([]byte("end"), off)
		require.Error(t, err)
		n, err := s.ReadAt(b, off)
		require.Error(t, err)
		require.Less(t, n, 3)
	}
}

func TestWriteBackReachesTheDeviceAtItsOwnPlace(t *testing.T) {
	dev := &eager{Device: disktest.New(8*mib, 512)}
	s := Section(dev, Partition{Number: 1, First: 2048, Sectors: 2048})
	require.NoError(t, s.(device.Backer).WriteBack(512, 1024))
	require.Equal(t, [][2]int64{{mib + 512, 1024}}, dev.begun)
}

// eager remembers what it was to begin to write.
type eager struct {
	Device
	begun [][2]int64
}

func (e *eager) WriteBack(off, n int64) error {
	e.begun = append(e.begun, [2]int64{off, n})
	return nil
}
