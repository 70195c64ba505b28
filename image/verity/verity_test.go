package verity_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/verity"
)

// memory is a device that grows.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if grow := off + int64(len(p)) - int64(len(m.b)); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], p), nil
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	s := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = s.Read(b)
	return b
}

func super(blocks int64) verity.Superblock {
	return verity.Superblock{DataBlocks: blocks, Salt: random(99, 32), UUID: [16]byte{1, 2, 3}}
}

// whole is data with its tree behind it.
func whole(t testing.TB, data []byte, s verity.Superblock) ([]byte, verity.Hash) {
	t.Helper()
	m := &memory{bytes.Clone(data)}
	b, err := verity.NewBuilder(io.NewOffsetWriter(m, int64(len(data))), s)
	require.NoError(t, err)
	_, err = b.Write(data)
	require.NoError(t, err)
	root, err := b.Finish()
	require.NoError(t, err)
	return m.b, root
}

func check(t testing.TB, image []byte, root verity.Hash) error {
	t.Helper()
	r, err := verity.OpenImage(bytes.NewReader(image), int64(len(image)), root)
	if err != nil {
		return err
	}
	return r.Check(context.Background())
}

func TestWhatIsBuiltIsRead(t *testing.T) {
	for _, blocks := range []int64{1, 2, 3, 127, 128, 129, 300, 128*128 + 1} {
		t.Run(fmt.Sprint(blocks, " blocks"), func(t *testing.T) {
			data := random(uint64(blocks), int(blocks)*verity.BlockSize)
			image, root := whole(t, data, super(blocks))
			tree, err := verity.Size(int64(len(data)))
			require.NoError(t, err)
			require.Len(t, image, len(data)+int(tree))
			split, err := verity.Split(int64(len(image)))
			require.NoError(t, err)
			require.EqualValues(t, len(data), split)

			r, err := verity.OpenImage(bytes.NewReader(image), int64(len(image)), root)
			require.NoError(t, err)
			require.Equal(t, super(blocks), r.Superblock())
			got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			n, err := r.ReadAt(make([]byte, 10), r.Size()-3)
			require.Equal(t, 3, n)
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, r.Check(context.Background()))
		})
	}
}

// What veritysetup 2.6.1 made of 300 blocks of zeros:
//
//	veritysetup format zeros tree --salt=0102 --uuid=01020304-0000-0000-0000-000000000000; sha256sum tree
func TestTheBytesAreThoseOfVeritysetup(t *testing.T) {
	image, root := whole(t, make([]byte, 300*verity.BlockSize), verity.Superblock{DataBlocks: 300, Salt: []byte{1, 2},
		UUID: [16]byte{1, 2, 3, 4}})
	require.Equal(t, "1cabb5556719f25e56b949a75cc9e96a6a3ff421baae5918b02e273d7d1814e3", root.String())
	require.Equal(t, "0740ff54e28591e4755dda740d80da0844ef5b46fb5bd0b70b5079f0d62462d0",
		fmt.Sprintf("%x", sha256.Sum256(image[300*verity.BlockSize:])))
}

func TestTheSizeOfThePiecesDoesNotMatter(t *testing.T) {
	data := random(1, 200*verity.BlockSize)
	want, root := whole(t, data, super(200))
	for _, piece := range []int{1, 17, 4095, 4096, 4097, 100_000} {
		m := &memory{}
		b, err := verity.NewBuilder(m, super(200))
		require.NoError(t, err)
		for at := 0; at < len(data); at += piece {
			n, err := b.Write(data[at:min(at+piece, len(data))])
			require.NoError(t, err)
			require.Equal(t, min(piece, len(data)-at), n)
		}
		got, err := b.Finish()
		require.NoError(t, err)
		require.Equal(t, root, got, "pieces of %d", piece)
		require.True(t, bytes.Equal(want[len(data):], m.b))
	}
}

// Every byte of tree and of five blocks of data, one after the other; of the superblock all but the UUID, which is a
// name.
func TestEveryFlippedByteIsFound(t *testing.T) {
	const blocks = 130 // two levels: of the lower one, the second block is of two blocks of data
	data := random(2, blocks*verity.BlockSize)
	image, root := whole(t, data, super(blocks))
	find := func(i int, block int64) error { // reads one block of data, with all that stands over it
		image[i] ^= 1 << (i % 8)
		defer func() { image[i] ^= 1 << (i % 8) }()
		r, err := verity.OpenImage(bytes.NewReader(image), int64(len(image)), root)
		if err == nil {
			_, err = r.ReadAt(make([]byte, 1), block*verity.BlockSize)
		}
		return err
	}
	for _, block := range []int64{0, 63, 127, 128, 129} {
		for i := range verity.BlockSize {
			if err := find(int(block)*verity.BlockSize+i, block); !errors.Is(err, verity.ErrCorrupt) {
				t.Fatalf("block %d, byte %d: %v", block, i, err)
			}
		}
	}
	for i := range len(image) - len(data) {
		err := find(len(data)+i, int64(max(0, i/verity.BlockSize-2))*128)
		switch {
		case i >= 16 && i < 32: // the UUID
			require.NoError(t, err)
		case i < verity.BlockSize && errors.Is(err, verity.ErrFormat):
		case !errors.Is(err, verity.ErrCorrupt):
			t.Fatalf("byte %d of the tree: %v", i, err)
		}
	}
	require.NoError(t, check(t, image, root))
	image[len(data)-1] ^= 1
	require.ErrorIs(t, check(t, image, root), verity.ErrCorrupt, "a check reads to the end")
	image[len(data)-1] ^= 1
	root[7] ^= 1
	require.ErrorIs(t, check(t, image, root), verity.ErrCorrupt)
}

func TestAnImageThatIsCutIsRefused(t *testing.T) {
	image, root := whole(t, random(3, 130*verity.BlockSize), super(130))
	for _, n := range []int{0, 1, 4096, len(image) - 4096, len(image) - 1} {
		require.Error(t, check(t, image[:n], root), "%d bytes", n)
	}
	r, err := verity.OpenImage(bytes.NewReader(image[:len(image)-1]), int64(len(image)), root)
	require.NoError(t, err)
	require.ErrorIs(t, r.Check(context.Background()), io.ErrUnexpectedEOF)
}

func TestMoreOrLessThanAnnouncedIsAnError(t *testing.T) {
	for _, n := range []int{0, 1, 2*verity.BlockSize - 1, 2*verity.BlockSize + 1, 3 * verity.BlockSize} {
		b, err := verity.NewBuilder(&memory{}, super(2))
		require.NoError(t, err)
		_, _ = b.Write(make([]byte, n))
		_, err = b.Finish()
		require.ErrorContains(t, err, "announced", "%d bytes", n)
	}
}

type full struct{ after int64 }

var errFull = errors.New("no space")

func (f *full) WriteAt(p []byte, off int64) (int, error) {
	if off >= f.after {
		return 0, errFull
	}
	return len(p), nil
}

func TestAWriteThatFailsIsTold(t *testing.T) {
	_, err := verity.NewBuilder(&full{0}, super(130))
	require.ErrorIs(t, err, errFull)
	b, err := verity.NewBuilder(&full{verity.BlockSize}, super(130))
	require.NoError(t, err)
	_, err = b.Write(make([]byte, 130*verity.BlockSize))
	require.ErrorIs(t, err, errFull)
	_, err = b.Finish()
	require.ErrorIs(t, err, errFull)
}

func TestSizesThatCannotBe(t *testing.T) {
	for _, n := range []int64{-4096, 0, 1, 4097, (verity.MaxBlocks + 1) * verity.BlockSize} {
		_, err := verity.Size(n)
		require.Error(t, err, "%d", n)
	}
	for _, n := range []int64{-1, 0, 4096, 8191, 3*4096 + 1, 3 * 4096} {
		_, err := verity.Split(n)
		require.ErrorIs(t, err, verity.ErrFormat, "%d", n)
	}
	for _, s := range []verity.Superblock{{}, {DataBlocks: -1}, {DataBlocks: verity.MaxBlocks + 1},
		{DataBlocks: 1, Salt: make([]byte, 257)}} {
		_, err := verity.NewBuilder(&memory{}, s)
		require.Error(t, err)
	}
}

func TestHashes(t *testing.T) {
	h := verity.Hash{0xab, 1}
	got, err := verity.ParseHash(h.String())
	require.NoError(t, err)
	require.Equal(t, h, got)
	for _, s := range []string{"", "ab", h.String() + "0", "x" + h.String()[1:]} {
		_, err := verity.ParseHash(s)
		require.Error(t, err, "%q", s)
	}
}

func BenchmarkBuild(b *testing.B) {
	data := random(4, 1<<20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := verity.NewBuilder(&full{1 << 40}, super(256))
		require.NoError(b, err)
		_, err = w.Write(data)
		require.NoError(b, err)
		_, err = w.Finish()
		require.NoError(b, err)
	}
}

func BenchmarkCheck(b *testing.B) {
	image, root := whole(b, random(5, 1<<20), super(256))
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, check(b, image, root))
	}
}
