package chunks_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/chunks"
)

func random(n int, seed string) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(p)
	return p
}

func cut(t testing.TB, p []byte) (all []chunks.Chunk) {
	t.Helper()
	at := int64(0)
	require.NoError(t, chunks.Split(bytes.NewReader(p), func(off int64, c []byte) error {
		require.Equal(t, at, off)
		at += int64(len(c))
		all = append(all, chunks.Chunk{Size: uint32(len(c)), Sum: chunks.SumOf(c)})
		return nil
	}))
	require.EqualValues(t, len(p), at)
	return all
}

// The cut is part of the format: what these bytes are cut into may never change.
func TestTheCutStaysWhatItIs(t *testing.T) {
	h := sha256.New()
	all := cut(t, random(8<<20, "golden"))
	for _, c := range all {
		h.Write([]byte{byte(c.Size), byte(c.Size >> 8), byte(c.Size >> 16)})
		h.Write(c.Sum[:])
	}
	require.Equal(t, 464, len(all))
	require.Equal(t, "ea022f73b46ada189710e57b7d6d71f6e2b941db36f67a1152288d4eb7f425f8",
		hex.EncodeToString(h.Sum(nil)))
}

func TestWhatIsWrittenIsCutAsWhatIsRead(t *testing.T) {
	data := append(random(3<<20, "a"), make([]byte, 1<<20)...)
	want := cut(t, data)
	for _, step := range []int{1000, chunks.Max, 3 << 20, len(data)} {
		var got []chunks.Chunk
		c := &chunks.Cutter{Use: func(p []byte) error {
			got = append(got, chunks.Chunk{Size: uint32(len(p)), Sum: chunks.SumOf(p)})
			return nil
		}}
		for rest := data; len(rest) > 0; {
			n := min(step, len(rest))
			_, err := c.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, c.Close())
		require.Equal(t, want, got, "%d bytes at a time", step)
	}
	for _, c := range want[:len(want)-1] {
		require.True(t, c.Size >= chunks.Min && c.Size <= chunks.Max, "%d", c.Size)
	}
	require.EqualValues(t, chunks.Max, want[len(want)-2].Size, "zeros are never cut by themselves")
	require.NoError(t, chunks.Split(bytes.NewReader(nil), nil), "nothing has no chunks")
	require.ErrorIs(t, chunks.Split(iotest.ErrReader(chunks.ErrTable), nil), chunks.ErrTable)
}

// A few bytes more in the middle change the chunks around them, and no others.
func TestWhatIsInsertedMovesNothingElse(t *testing.T) {
	data := random(4<<20, "b")
	have := map[chunks.Sum]bool{}
	for _, c := range cut(t, data) {
		have[c.Sum] = true
	}
	edited := append(append(append([]byte{}, data[:2<<20]...), "a few bytes"...), data[2<<20:]...)
	missing := 0
	for _, c := range cut(t, edited) {
		if !have[c.Sum] {
			missing++
		}
	}
	require.LessOrEqual(t, missing, 3)
}

func table(t testing.TB) *chunks.Table {
	data := random(300_000, "c")
	return &chunks.Table{Size: int64(len(data)), Chunks: cut(t, data),
		Frames: []chunks.Frame{{Content: 200_000, Packed: 170_000}, {Content: 100_000, Packed: 100_050}}}
}

func TestATableComesBack(t *testing.T) {
	want := table(t)
	raw := want.Encode()
	require.Len(t, raw, want.EncodedSize())
	got, err := chunks.Decode(raw)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// Whatever is changed in a table but its sums, it is refused: numbers that do not add up are found.
func TestATableThatContradictsItselfIsRefused(t *testing.T) {
	good := table(t)
	raw := good.Encode()
	for at := range 24 + 8*len(good.Frames) {
		if at >= 24 && at%8 >= 4 {
			continue // what a frame has packed is compared with its layer
		}
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[at] ^= 1 << bit
			_, err := chunks.Decode(bad)
			require.ErrorIs(t, err, chunks.ErrTable, "byte %d, bit %d", at, bit)
		}
	}
	for n := range raw {
		_, err := chunks.Decode(raw[:n])
		require.ErrorIs(t, err, chunks.ErrTable, "the first %d bytes", n)
	}
	for name, edit := range map[string]func(*chunks.Table){
		"a chunk too large":     func(t *chunks.Table) { t.Chunks[0].Size = chunks.Max + 1 },
		"a chunk too small":     func(t *chunks.Table) { t.Chunks[0].Size = chunks.Min - 1 },
		"an empty frame":        func(t *chunks.Table) { t.Frames[0].Content = 0 },
		"a frame too large":     func(t *chunks.Table) { t.Frames[0].Content = chunks.MaxFrame + 1 },
		"a frame of no bytes":   func(t *chunks.Table) { t.Frames[0].Packed = 0 },
		"a frame that swells":   func(t *chunks.Table) { t.Frames[0].Packed = 2*chunks.MaxFrame + 1 },
		"no chunks and frames":  func(t *chunks.Table) { t.Size, t.Chunks, t.Frames = 0, nil, nil },
		"an asset of less":      func(t *chunks.Table) { t.Size-- },
		"a chunk less":          func(t *chunks.Table) { t.Chunks = t.Chunks[1:] },
		"a frame less":          func(t *chunks.Table) { t.Frames = t.Frames[1:] },
		"chunks of other sizes": func(t *chunks.Table) { t.Chunks[0].Size, t.Chunks[1].Size = 4096, 4096 },
	} {
		bad := table(t)
		edit(bad)
		_, err := chunks.Decode(bad.Encode())
		require.ErrorIs(t, err, chunks.ErrTable, name)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(table(f).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := chunks.Decode(raw); err == nil {
			require.Equal(t, raw, got.Encode())
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	data := random(64<<20, "bench")
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			rest = rest[chunks.Cut(rest):]
		}
	}
}
