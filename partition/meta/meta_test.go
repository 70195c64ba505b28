package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/siderolabs/go-adv/adv/talos"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

const mib = 1 << 20

func formatted(t testing.TB) (*disktest.Disk, *Store) {
	t.Helper()
	d := disktest.New(mib, 512)
	require.NoError(t, Format(d))
	s, err := Open(d)
	require.NoError(t, err)
	return d, s
}

func both(t testing.TB, d *disktest.Disk) []byte {
	t.Helper()
	b := make([]byte, Size)
	_, err := d.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

func TestValuesComeBack(t *testing.T) {
	d, s := formatted(t)
	tags, err := s.Tags()
	require.NoError(t, err)
	require.Empty(t, tags)
	_, err = s.Value(7)
	require.ErrorIs(t, err, ErrNoTag)

	require.NoError(t, s.Set(7, []byte("image")))
	require.NoError(t, s.Set(0x50, nil))
	require.NoError(t, s.Set(7, []byte("another image")))
	require.NoError(t, s.Set(255, []byte("last")))
	require.NoError(t, s.Delete(255))
	require.NoError(t, s.Delete(9), "nothing there is no error")

	again, err := Open(d)
	require.NoError(t, err)
	v, err := again.Value(7)
	require.NoError(t, err)
	require.Equal(t, "another image", string(v))
	v, err = again.Value(0x50)
	require.NoError(t, err, "an empty value is a value")
	require.Empty(t, v)
	tags, err = again.Tags()
	require.NoError(t, err)
	require.Equal(t, []uint8{7, 0x50}, tags)
	require.Equal(t, both(t, d)[:CopySize], both(t, d)[CopySize:])
}

func TestLimits(t *testing.T) {
	d, s := formatted(t)
	require.ErrorIs(t, s.Set(0, []byte("x")), ErrTag)
	require.Equal(t, 262096, MaxValue)
	d.Record()
	require.ErrorIs(t, s.Set(1, make([]byte, MaxValue+1)), ErrFull)
	require.ErrorContains(t, s.Set(1, make([]byte, MaxValue+1)), "262097 bytes, room for 262096")
	require.Empty(t, d.Trace().Ops, "refused before anything is written")

	full := bytes.Repeat([]byte{0xaa}, MaxValue)
	require.NoError(t, s.Set(1, full), "exactly full")
	v, err := s.Value(1)
	require.NoError(t, err)
	require.Equal(t, full, v)
	require.ErrorIs(t, s.Set(2, nil), ErrFull)
	require.NoError(t, s.Set(1, full[:MaxValue-8]))
	require.NoError(t, s.Set(2, nil))
	require.ErrorContains(t, s.Set(2, []byte{1}), "room for 0")

	require.ErrorIs(t, Format(disktest.New(Size-512, 512)), ErrSize)
	_, err = Open(disktest.New(Size-512, 512))
	require.ErrorIs(t, err, ErrSize)
	require.NoError(t, Format(disktest.New(Size, 4096)))
}

func TestAnUpdateIsAllOrNothing(t *testing.T) {
	d, s := formatted(t)
	require.NoError(t, s.Set(1, []byte("one")))
	d.Record()
	stop := errors.New("stop")
	require.ErrorIs(t, s.Update(func(v *Values) error {
		require.NoError(t, v.Set(1, []byte("two")))
		return stop
	}), stop)
	require.NoError(t, s.Set(1, []byte("one")), "the same value")
	require.Empty(t, d.Trace().Ops)
	require.NoError(t, s.Update(func(v *Values) error {
		v.Delete(1)
		return v.Set(2, []byte("two"))
	}))
	require.Len(t, d.Trace().Flushes(), 2)
}

func TestAStaleReaderErasesNothing(t *testing.T) {
	d, one := formatted(t)
	two, err := Open(d)
	require.NoError(t, err)
	require.NoError(t, one.Set(1, []byte("of one")))
	require.NoError(t, two.Set(2, []byte("of two")))
	tags, err := one.Tags()
	require.NoError(t, err)
	require.Equal(t, []uint8{1, 2}, tags)
}

func TestBothCopiesBadIsAnError(t *testing.T) {
	for name, spoil := range map[string]func(*disktest.Disk){
		"zeros": func(d *disktest.Disk) { _, _ = d.WriteAt(make([]byte, Size), 0) },
		"one byte": func(d *disktest.Disk) {
			_, _ = d.WriteAt([]byte{1}, 100)
			_,
				_ = d.WriteAt([]byte{1}, CopySize+100)
		},
		"unreadable": func(d *disktest.Disk) { d.Spoil(0, Size) },
	} {
		d, s := formatted(t)
		spoil(d)
		d.Record()
		_, err := Read(d)
		require.ErrorIs(t, err, ErrDamaged, name)
		_, err = Open(d)
		require.ErrorIs(t, err, ErrDamaged, name)
		require.ErrorIs(t, s.Set(1, nil), ErrDamaged, name)
		_, err = s.Value(1)
		require.ErrorIs(t, err, ErrDamaged, name)
		require.Empty(t, d.Trace().Ops, "never overwritten as if it were empty")
		require.NoError(t, Format(d))
		_, err = Open(d)
		require.NoError(t, err)
	}
}

// A value of an update that was cut off must not come back after a later damage to the copy that counted.
func TestOpenMakesTheCopiesAgree(t *testing.T) {
	d, s := formatted(t)
	require.NoError(t, s.Set(1, []byte("old")))
	cut := d.Clone()
	require.NoError(t, s.Set(1, []byte("aborted")))
	_, _ = cut.WriteAt(both(t, d)[CopySize:], CopySize) // only copy 2 was written

	v, err := Read(cut)
	require.NoError(t, err)
	got, err := v.Value(1)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.NotEqual(t, both(t, cut)[:CopySize], both(t, cut)[CopySize:], "Read writes nothing")

	_, err = Open(cut)
	require.NoError(t, err)
	_, _ = cut.WriteAt(make([]byte, 512), 0) // copy 1 is lost later
	s, err = Open(cut)
	require.NoError(t, err)
	got, err = s.Value(1)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.Equal(t, both(t, cut)[:CopySize], both(t, cut)[CopySize:])
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	var v Values
	require.NoError(t, v.Set(1, []byte("value")))
	block, err := v.Encode()
	require.NoError(t, err)
	try := func(i int, bit byte) {
		block[i] ^= bit
		_, err := Decode(block)
		require.Error(t, err, "byte %d", i)
		block[i] ^= bit
	}
	for i := range 64 { // all bytes of what is in use and of the tail, and some of the rest: each decode hashes 256 KiB
		try(i, 0x01)
		try(CopySize-1-i, 0x80)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		try(r.IntN(CopySize), 1<<r.IntN(8))
	}
	_, err = Decode(block)
	require.NoError(t, err)
	_, err = Decode(block[1:])
	require.Error(t, err)
}

// sealed is a copy with the given records and a right checksum.
func sealed(records []byte) []byte {
	b := make([]byte, CopySize)
	binary.BigEndian.PutUint32(b, magic1)
	copy(b[recordsAt:sumAt], records)
	binary.BigEndian.PutUint32(b[magic2At:], magic2)
	sum := sha256.Sum256(b)
	copy(b[sumAt:], sum[:])
	return b
}

func TestRecordsOfOtherPrograms(t *testing.T) {
	d, _ := formatted(t)
	records := []byte{0, 0, 1, 7, 0, 0, 0, 1, 'w', 0, 0, 0, 7, 0, 0, 0, 1, 'a', 0, 0, 0, 7, 0, 0, 0, 1, 'b'}
	for i := range int64(2) {
		_, _ = d.WriteAt(sealed(records), i*CopySize)
	}
	s, err := Open(d)
	require.NoError(t, err)
	got, err := s.Value(7)
	require.NoError(t, err)
	require.Equal(t, "b", string(got), "the last of two counts, as in Talos")
	require.NoError(t, s.Set(8, []byte("c")))
	v, err := Read(d)
	require.NoError(t, err)
	require.Equal(t, append([]record{{0x107, []byte("w")}, {7, []byte("a")}, {7, []byte("b")}}, record{8, []byte("c")}),
		v.records, "what is not understood stays")
	require.NoError(t, s.Set(7, []byte("d")))
	v, err = Read(d)
	require.NoError(t, err)
	require.Equal(t, []record{{0x107, []byte("w")}, {7, []byte("d")}, {8, []byte("c")}}, v.records)
	require.NoError(t, s.Delete(7))
	_, err = s.Value(7)
	require.ErrorIs(t, err, ErrNoTag)

	_, err = Decode(sealed([]byte{0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff}))
	require.ErrorContains(t, err, "goes past the end")
}

func TestTalosReadsOursAndWeReadTalos(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		d, s := formatted(t)
		theirs, err := talos.NewADV(nil)
		require.NoError(t, err)
		want := map[uint8][]byte{}
		for range r.IntN(10) {
			tag, value := uint8(1+r.IntN(255)), bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(9000))
			want[tag] = value
			require.NoError(t, s.Set(tag, value))
			require.True(t, theirs.SetTagBytes(tag, value))
		}
		read, err := talos.NewADV(bytes.NewReader(both(t, d)))
		require.NoError(t, err)
		require.Len(t, read.ListTags(), len(want))
		for tag, value := range want {
			got, ok := read.ReadTagBytes(tag)
			require.True(t, ok)
			require.True(t, bytes.Equal(value, got))
		}

		raw, err := theirs.Bytes()
		require.NoError(t, err)
		_, _ = d.WriteAt(raw, 0)
		v, err := Read(d)
		require.NoError(t, err)
		require.Len(t, v.Tags(), len(want))
		for tag, value := range want {
			got, err := v.Value(tag)
			require.NoError(t, err)
			require.True(t, bytes.Equal(value, got))
		}
		again, err := v.Encode()
		require.NoError(t, err)
		require.True(t, bytes.Equal(raw[:CopySize], again), "decode and encode is the identity")
	}
}

// testdata/talos.adv is the first 512 bytes and the last 512 of a copy that go-adv v1.0.0 wrote, with zeros between:
// tag 6 "A" (SetTag(6, "A")), nothing else.
func TestGoldenBytes(t *testing.T) {
	ends, err := os.ReadFile("testdata/talos.adv")
	require.NoError(t, err)
	block := make([]byte, CopySize)
	copy(block, ends[:512])
	copy(block[CopySize-512:], ends[512:])
	v, err := Decode(block)
	require.NoError(t, err)
	got, err := v.Value(TagUpgrade)
	require.NoError(t, err)
	require.Equal(t, "A", string(got))
	var ours Values
	require.NoError(t, ours.Set(TagUpgrade, []byte("A")))
	b, err := ours.Encode()
	require.NoError(t, err)
	require.True(t, bytes.Equal(block, b))
}

// A Store in memory takes and refuses what one on a device does, and a copy of it goes its own way.
func TestMemory(t *testing.T) {
	v := new(Values)
	require.NoError(t, v.Set(7, []byte("seven")))
	s := Memory(v)
	c := s.Clone()
	require.NoError(t, s.Set(8, []byte("eight")))
	require.ErrorIs(t, s.Set(9, make([]byte, MaxValue)), ErrFull)
	require.ErrorIs(t, s.Set(0, nil), ErrTag)
	got, err := s.Value(8)
	require.NoError(t, err)
	require.Equal(t, "eight", string(got))
	_, err = c.Value(8)
	require.ErrorIs(t, err, ErrNoTag)
	_, err = v.Value(8)
	require.ErrorIs(t, err, ErrNoTag)
	require.NoError(t, c.Delete(7))
	tags, err := s.Tags()
	require.NoError(t, err)
	require.Equal(t, []uint8{7, 8}, tags)
}
