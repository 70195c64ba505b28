package patches_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/patches"
)

func noise(n int, seed byte) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// patch makes a patch and applies it. It tells how many bytes the patch has.
func patch(t testing.TB, old, new []byte) (size int, table *patches.Table, packed [][]byte) {
	t.Helper()
	m, err := patches.NewMaker(bytes.NewReader(old), int64(len(old)), int64(len(new)))
	require.NoError(t, err)
	for rest := new; len(rest) > 0; rest = rest[min(len(rest), patches.Content):] {
		p, err := m.Piece(rest[:min(len(rest), patches.Content)], nil)
		require.NoError(t, err)
		packed, size = append(packed, p), size+len(p)
	}
	raw := m.Table().Encode()
	table, err = patches.Decode(raw)
	require.NoError(t, err)
	require.Equal(t, raw, table.Encode())
	require.Equal(t, new, open(t, table, packed, old))
	return size + len(raw), table, packed
}

func open(t testing.TB, table *patches.Table, packed [][]byte, old []byte) (all []byte) {
	t.Helper()
	var o patches.Opener
	defer o.Close()
	for k, p := range packed {
		content, err := o.Open(table.Pieces[k], p, bytes.NewReader(old), table.Content(k))
		require.NoError(t, err)
		all = append(all, content...)
	}
	return all
}

// What is moved, spread and inserted costs little, wherever it was; what is new costs what it has.
func TestAPatchHasWhatIsNew(t *testing.T) {
	old := noise(2<<20, 1)
	spread := make([]byte, 0, len(old)) // blocks of 4 KiB in another order, as file systems have them
	for _, n := range rand.New(rand.NewPCG(1, 2)).Perm(len(old) >> 12) {
		spread = append(spread, old[n<<12:][:4096]...)
	}
	for name, c := range map[string]struct {
		new   []byte
		least int
	}{
		"the same":                 {old, 0},
		"moved":                    {append(noise(1000, 2), old...), 1000},
		"turned around":            {append(bytes.Clone(old[1<<20:]), old[:1<<20]...), 0},
		"spread":                   {spread, 0},
		"something in the middle":  {append(append(bytes.Clone(old[:700_000]), noise(30_000, 3)...), old[690_000:]...), 30_000},
		"zeros in front":           {append(make([]byte, 3<<20), old[:500_000]...), 0},
		"the end":                  {old[len(old)-77:], 0},
		"nothing in common":        {noise(300_000, 4), 300_000},
		"a byte":                   {[]byte{7}, 0},
		"a few bytes, often twice": {bytes.Repeat(old[5000:5100], 20_000), 0},
	} {
		size, _, _ := patch(t, old, c.new)
		require.GreaterOrEqual(t, size, c.least, name)
		require.Less(t, size, c.least+c.least/100+len(old)/128, name)
	}
	size, _, _ := patch(t, make([]byte, 3<<20), old[:1<<20])
	require.Greater(t, size, 1<<20, "of zeros")
	patch(t, []byte("short"), old[:5000])
}

// Whatever a table or a piece has become: an error, or other bytes, and never more than is wanted.
func TestAPatchThatIsWrong(t *testing.T) {
	old := noise(1<<20, 1)
	want := append(noise(3000, 2), old[:100_000]...)
	_, table, packed := patch(t, old, want)
	raw := table.Encode()
	for at := range raw {
		bad := bytes.Clone(raw)
		bad[at] ^= 0x80
		other, err := patches.Decode(bad)
		if err != nil {
			require.ErrorIs(t, err, patches.ErrTable)
			continue
		}
		var o patches.Opener
		got, err := o.Open(other.Pieces[0], packed[0], bytes.NewReader(old), other.Content(0))
		require.False(t, err == nil && int64(len(got)) != other.Size, "byte %d", at)
	}
	var o patches.Opener
	for at := range packed[0] {
		bad := bytes.Clone(packed[0])
		bad[at] ^= 1
		if got, err := o.Open(table.Pieces[0], bad, bytes.NewReader(old), len(want)); err == nil {
			require.Len(t, got, len(want))
		}
	}
	_, err := o.Open(table.Pieces[0], packed[0], bytes.NewReader(old[:1000]), len(want))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = o.Open(table.Pieces[0], packed[0], bytes.NewReader(old), len(want)-1)
	require.ErrorContains(t, err, "are wanted")
	got, err := o.Open(table.Pieces[0], packed[0], bytes.NewReader(old), len(want))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Numbers that would make a node take more memory than it may are refused.
func TestTablesWithoutBounds(t *testing.T) {
	good := patches.Table{Size: 2_000_000, Old: 9_000_000, Pieces: []patches.Piece{
		{Packed: 5, From: []patches.Range{{At: 0, Size: 2 << 20}, {At: 5_000_000, Size: 1 << 20}}}, {Packed: 9}}}
	_, err := patches.Decode(good.Encode())
	require.NoError(t, err)
	for name, edit := range map[string]func(*patches.Table){
		"more old bytes than may be": func(t *patches.Table) { t.Pieces[0].From[1].Size++ },
		"an empty range":             func(t *patches.Table) { t.Pieces[0].From[1].Size = 0 },
		"a range before the start":   func(t *patches.Table) { t.Pieces[0].From[1].At = -1 },
		"a range behind the end":     func(t *patches.Table) { t.Pieces[0].From[1].At = 9_000_000 - 1<<20 + 1 },
		"a range far behind the end": func(t *patches.Table) { t.Pieces[0].From[1].At = 1<<63 - 1 },
		"too many ranges": func(t *patches.Table) {
			t.Pieces[1].From = make([]patches.Range, patches.MaxRanges+1)
			for k := range t.Pieces[1].From {
				t.Pieces[1].From[k].Size = 1
			}
		},
		"a piece of nothing":   func(t *patches.Table) { t.Pieces[1].Packed = 0 },
		"a piece too large":    func(t *patches.Table) { t.Pieces[1].Packed = patches.MaxPacked + 1 },
		"too few pieces":       func(t *patches.Table) { t.Pieces = t.Pieces[:1] },
		"too many pieces":      func(t *patches.Table) { t.Size = 1 << 20 },
		"a size below zero":    func(t *patches.Table) { t.Size = -5 },
		"a size of everything": func(t *patches.Table) { t.Size = 1<<63 - 1 },
		"no old asset":         func(t *patches.Table) { t.Old = 0 },
	} {
		bad := good
		bad.Pieces = []patches.Piece{{Packed: 5, From: append([]patches.Range{}, good.Pieces[0].From...)}, {Packed: 9}}
		edit(&bad)
		_, err := patches.Decode(bad.Encode())
		require.ErrorIs(t, err, patches.ErrTable, name)
	}
	raw := good.Encode()
	for _, b := range [][]byte{nil, raw[:31], raw[:len(raw)-1], append(bytes.Clone(raw), 0),
		binary.LittleEndian.AppendUint32(bytes.Clone(raw[:28]), 1<<32-1)} {
		_, err := patches.Decode(b)
		require.ErrorIs(t, err, patches.ErrTable)
	}
}

// What cannot be read ends it.
func TestAnOldAssetThatCannotBeRead(t *testing.T) {
	_, err := patches.NewMaker(broken{}, 5<<20, 100)
	require.ErrorIs(t, err, errBroken)
	var o patches.Opener
	_, err = o.Open(patches.Piece{Packed: 1, From: []patches.Range{{Size: 5}}}, []byte{0}, broken{}, 5)
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func Example() {
	old := bytes.Repeat([]byte("what was there before. "), 1000)
	m, err := patches.NewMaker(bytes.NewReader(old), int64(len(old)), 10_015)
	if err != nil {
		panic(err)
	}
	packed, err := m.Piece(append([]byte("something else "), old[:10_000]...), nil)
	if err != nil {
		panic(err)
	}
	var o patches.Opener
	defer o.Close()
	piece := m.Table().Pieces[0]
	content, err := o.Open(piece, packed, bytes.NewReader(old), m.Table().Content(0))
	fmt.Printf("%d bytes of %d packed ones: %.20s (%v)\n", len(content), len(packed), content, err)
	// Output: 10015 bytes of 35 packed ones: something else what  (<nil>)
}

func FuzzDecode(f *testing.F) {
	good := patches.Table{Size: 2_000_000, Old: 9_000_000, Pieces: []patches.Piece{
		{Packed: 5, From: []patches.Range{{At: 7, Size: 2 << 20}}}, {Packed: 9, From: []patches.Range{}}}}
	f.Add(good.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := patches.Decode(raw); err == nil {
			require.Equal(t, raw, got.Encode())
		}
	})
}
