package partition

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

// golden is a disk that testdata/make.sh made.
func golden(t testing.TB, name string) *disktest.Disk {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".img.gz")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	d := disktest.New(int64(len(data)), 512)
	_, err = d.WriteAt(data, 0)
	require.NoError(t, err)
	return d
}

func content(t testing.TB, d *disktest.Disk) []byte {
	t.Helper()
	b := make([]byte, d.Size())
	_, err := d.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

type entry struct {
	number         int
	label          string
	typ, guid      string
	first, sectors int64
	attributes     uint64
}

func entries(l Layout) (all []entry) {
	for _, p := range l.Partitions {
		all = append(all, entry{p.Number, p.Label, p.Type.String(), p.GUID.String(), p.First, p.Sectors, p.Attributes})
	}
	return all
}

// What foreign tools wrote is read as they list it, and written again it is the same, byte for byte.
func TestForeignTables(t *testing.T) {
	for name, want := range map[string]struct {
		guid              string
		places            int
		first, last, main int64
		entries           []entry
	}{
		"sgdisk": {"11111111-2222-3333-4444-555555555555", 128, 34, 32734, 2, []entry{
			{1, "EFI", TypeESP.String(), "a0000000-0000-4000-8000-000000000001", 2048, 8192, 0},
			{3, "Łódź 東京 🐾", "ffffffff-0102-0304-0506-0708090a0b0c", "a0000000-0000-4000-8000-000000000003", 10300, 100,
				1<<63 | 1<<2},
			{9, "", TypeBIOS.String(), "a0000000-0000-4000-8000-000000000009", 34, 2014, 0},
		}},
		"sgdisk-256": {"11111111-2222-3333-4444-666666666666", 256, 66, 32702, 2, []entry{
			{200, "high", TypeLinux.String(), "a0000000-0000-4000-8000-0000000000c8", 4096, 4096, 0},
		}},
		"sgdisk-moved": {"11111111-2222-3333-4444-777777777777", 56, 78, 32752, 64, []entry{
			{1, "moved", TypeLinux.String(), "a0000000-0000-4000-8000-000000000010", 4096, 4096, 0},
		}},
		"sfdisk": {"11111111-2222-3333-4444-888888888888", 128, 2048, 32734, 2, []entry{
			{1, "EFI", TypeESP.String(), "a0000000-0000-4000-8000-000000000021", 2048, 8192, 0},
			{2, "META", TypeLinux.String(), "a0000000-0000-4000-8000-000000000022", 16384, 2048, 1<<63 | 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := golden(t, name)
			l, err := Read(d)
			require.NoError(t, err)
			require.Empty(t, l.Problems)
			require.Equal(t, want.guid, l.GUID.String())
			require.Equal(t, []int64{int64(want.places), want.first, want.last, want.main},
				[]int64{int64(l.Entries), l.FirstUsable, l.LastUsable, l.entriesAt})
			require.Equal(t, want.entries, entries(l))

			d.Record()
			require.NoError(t, Apply(d, l))
			require.Empty(t, d.Trace().Ops, "a table that is right is not written")
			before := content(t, d)
			for _, lost := range []int64{0, 1, d.Size()/512 - 1} { // MBR, primary, backup
				c := d.Clone()
				_, _ = c.WriteAt(make([]byte, 512), lost*512)
				r, err := Read(c)
				require.NoError(t, err)
				require.NotEmpty(t, r.Problems)
				require.Equal(t, want.entries, entries(r))
				require.NoError(t, Apply(c, r))
				if lost == 0 || lost == 1 && name == "sgdisk-moved" {
					continue // the boot code, or where the entries were, is not known any more
				}
				require.True(t, bytes.Equal(before, content(t, c)), "sector %d mended as it was", lost)
			}
		})
	}
}

func TestForeignTablesAreAddedTo(t *testing.T) {
	for _, name := range []string{"sgdisk", "sgdisk-256", "sgdisk-moved", "sfdisk"} {
		t.Run(name, func(t *testing.T) {
			d := golden(t, name)
			before, err := Read(d)
			require.NoError(t, err)
			more := []Spec{{Label: "new", Type: TypeLinux, GUID: uuid.New(), Size: mib}}
			require.NoError(t, Apply(d, planned(t, &before, d.Size(), 512, more)))
			after, err := Read(d)
			require.NoError(t, err)
			for _, p := range before.Partitions {
				require.Contains(t, after.Partitions, p)
			}
			require.Len(t, after.Partitions, len(before.Partitions)+1)
			if name == "sfdisk" {
				require.Equal(t, "boot code", string(content(t, d)[:9]))
			}
		})
	}
}

func TestDisksThatAreNotForUs(t *testing.T) {
	dos := golden(t, "dos")
	mark := func(off int64, s string) *disktest.Disk {
		d := disktest.New(16*mib, 512)
		_, _ = d.WriteAt([]byte(s), off)
		return d
	}
	over, _ := installed(t, 16*mib, 512)
	_, _ = over.WriteAt(content(t, dos)[:512], 0)
	fs, _ := installed(t, 16*mib, 512)
	_, _ = fs.WriteAt(make([]byte, 512), 0)
	_, _ = fs.WriteAt([]byte("\x53\xef"), 1080)
	wide := disktest.New(16*mib, 4096)
	made, _ := installed(t, 16*mib, 512)
	_, _ = wide.WriteAt(content(t, made)[512:mib], 512)

	for name, c := range map[string]struct {
		dev  *disktest.Disk
		is   error
		says string
	}{
		"DOS table":            {dos, ErrForeign, "found a DOS (MBR) partition table with 2 partitions"},
		"DOS table over a GPT": {over, ErrForeign, "found a DOS (MBR) partition table"},
		"ext4 over a GPT":      {fs, ErrForeign, "found an ext2, ext3 or ext4 file system"},
		"LUKS":                 {mark(0, "LUKS\xba\xbe"), ErrForeign, "found a LUKS volume"},
		"XFS":                  {mark(0, "XFSB"), ErrForeign, "found an XFS file system"},
		"btrfs":                {mark(65600, "_BHRfS_M"), ErrForeign, "found a btrfs file system"},
		"GPT of other sector size": {wide, ErrForeign,
			"found a GPT made for sectors of 512 bytes, and this disk has 4096"},
		"tiny":  {disktest.New(2048, 512), ErrForeign, "2048 bytes are too few"},
		"empty": {disktest.New(16*mib, 512), ErrNoTable, "no partition table"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(c.dev)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			if c.is == ErrNoTable {
				return
			}
			c.dev.Record()
			if c.dev.Size() > mib {
				err = Apply(c.dev, planned(t, nil, c.dev.Size(), c.dev.SectorSize(), nil))
				require.ErrorIs(t, err, c.is)
			}
			require.Empty(t, c.dev.Trace().Ops, "nothing was changed")
		})
	}
}

// Every byte of both copies that a checksum covers is flipped in turn: the table is still read right from the other
// copy; with the same byte flipped in both, it is refused.
func TestEveryDamagedByteIsNoticed(t *testing.T) {
	d, want := installed(t, 16*mib, 512)
	flip := func(off int64) {
		b := make([]byte, 1)
		_, err := d.ReadAt(b, off)
		require.NoError(t, err)
		b[0] ^= 0x40
		_, err = d.WriteAt(b, off)
		require.NoError(t, err)
	}
	backup := d.Size() - 512
	offsets := map[int64]int64{} // in the primary copy to in the backup copy
	for i := range int64(headerSize) {
		if i < 20 || i >= 24 { // reserved, covered by the checksum only
			offsets[512+i] = backup + i
		}
	}
	for i := range int64(5 * entrySize) {
		offsets[1024+i] = backup - newEntries*entrySize + i
	}
	for a, b := range offsets {
		flip(a)
		got, err := Read(d)
		require.NoError(t, err)
		require.Len(t, got.Problems, 1, "byte %d", a)
		require.Contains(t, got.Problems[0], "recovered from the backup copy")
		require.Equal(t, entries(want), entries(got))
		flip(b)
		_, err = Read(d)
		require.ErrorIs(t, err, ErrDamaged, "byte %d", a)
		require.ErrorContains(t, err, "primary: ")
		require.ErrorIs(t, Apply(d, want), ErrDamaged)
		flip(a)
		got, err = Read(d)
		require.NoError(t, err)
		require.Contains(t, got.Problems[0], "backup copy is damaged")
		flip(b)
	}
}

func sum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// resum returns a header with its checksum put right.
func resum(sector []byte) []byte {
	b := bytes.Clone(sector)
	size := binary.LittleEndian.Uint32(b[12:])
	if size < headerSize || int(size) > len(b) {
		return b
	}
	clear(b[16:20])
	binary.LittleEndian.PutUint32(b[16:], sum(b[:size]))
	return b
}

// Headers with right checksums that say impossible things.
func TestImpossibleHeadersAreRefused(t *testing.T) {
	for says, change := range map[string]func(h []byte){
		"revision 0x20000": func(h []byte) { binary.LittleEndian.PutUint32(h[8:], 0x20000) },
		"is in sector 7":   func(h []byte) { binary.LittleEndian.PutUint64(h[24:], 7) },
		"entries of 100":   func(h []byte) { binary.LittleEndian.PutUint32(h[84:], 100) },
		"268435456 entries": func(h []byte) { // would be 32 GiB
			binary.LittleEndian.PutUint32(h[80:], 1<<28)
		},
		"entries at 1":                   func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 1) },
		"entries in 32760 to 32791":      func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 32760) },
		"entries at 9223372036854775807": func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 1<<63-1) },
		"usable sectors 34 to -2":        func(h []byte) { binary.LittleEndian.PutUint64(h[48:], 1<<64-2) },
	} {
		d, _ := installed(t, 16*mib, 512)
		h := content(t, d)[512:1024]
		change(h)
		_, _ = d.WriteAt(resum(h), 512)
		l, err := Read(d)
		require.NoError(t, err, says)
		require.Len(t, l.Problems, 1)
		require.Contains(t, l.Problems[0], says)
	}
}

// Bytes that no field of ours holds stay: the rest of long entries, of long headers, and behind the end of a name.
func TestBytesThatAreNotUnderstoodStay(t *testing.T) {
	d := disktest.New(16*mib, 512)
	l := planned(t, nil, d.Size(), 512, small("x")[:1])
	l.entrySize, l.extra = 256, "vendor's own"
	l.FirstUsable, l.LastUsable = l.entriesAt+l.tableSectors(), l.Sectors-2-l.tableSectors()
	raw := make([]byte, 256)
	copy(raw[nameAt:], "E\x00F\x00I\x00\x00\x00junk behind")
	copy(raw[200:], "more of the vendor's")
	l.Partitions[0].raw = string(raw)
	require.NoError(t, Apply(d, l))
	now, err := Read(d)
	require.NoError(t, err)
	require.NoError(t, Apply(d, planned(t, &now, d.Size(), 512, small("x")[:3])))
	after, err := Read(d)
	require.NoError(t, err)
	require.Equal(t, now.Partitions[0], after.Partitions[0])
	require.Equal(t, "vendor's own", after.extra)
	b := content(t, d)[1024:]
	require.Equal(t, "junk behind", string(b[nameAt+8:][:11]))
	require.Equal(t, "more of the vendor's", string(b[200:220]))
	require.Equal(t, []string{"EFI", "BIOS", "META"}, []string{after.Partitions[0].Label, after.Partitions[1].Label,
		after.Partitions[2].Label})
}

func TestADiskOfManyTerabytes(t *testing.T) {
	d, l := installed(t, 20<<40, 512)
	require.Greater(t, l.Bytes(l.Partitions[4]), int64(19<<40))
	b := make([]byte, 512)
	_, err := d.ReadAt(b, 0)
	require.NoError(t, err)
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, b[mbrTable+12:mbrTable+16])
}
