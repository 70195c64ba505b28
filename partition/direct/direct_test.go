package direct_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/direct"
)

// file makes a file of random bytes and opens it.
func file(t *testing.T, size int) (*os.File, []byte) {
	t.Helper()
	data := make([]byte, size)
	_, err := rand.NewChaCha8([32]byte{1}).Read(data)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("/var/tmp", "direct-") // on a disk, where the other place may be in memory
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	f, err := os.Create(filepath.Join(dir, "disk"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	return f, data
}

func TestWhatIsReadIsWhatIsThere(t *testing.T) {
	f, data := file(t, 300_000) // its end is not aligned
	r, err := direct.Open(f)
	require.NoError(t, err)
	defer r.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off, n := rng.IntN(len(data)), rng.IntN(len(data))
		switch rng.IntN(3) {
		case 0:
			off &^= direct.Align - 1
		case 1:
			n &^= direct.Align - 1
		}
		p := direct.Buffer(n)
		if rng.IntN(2) == 0 {
			p = make([]byte, n)
		}
		got, err := r.ReadAt(p, int64(off))
		want := min(n, len(data)-off)
		require.Equal(t, want, got, "%d bytes at %d", n, off)
		if want < n {
			require.Equal(t, io.EOF, err, "%d bytes at %d", n, off)
		} else {
			require.NoError(t, err, "%d bytes at %d", n, off)
		}
		require.True(t, bytes.Equal(data[off:off+want], p[:want]), "%d bytes at %d", n, off)
	}
	_, err = r.ReadAt(make([]byte, 1), -1)
	require.ErrorContains(t, err, "before its start")
}

// TestPagesAreNotReadFromTheCache: reading what is in no cache leaves it in none.
func TestPagesAreNotReadFromTheCache(t *testing.T) {
	f, data := file(t, 1<<20)
	require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	require.Zero(t, cached(t, f, len(data)), "the pages could not be dropped to begin with")
	r, err := direct.Open(f)
	require.NoError(t, err)
	defer r.Close()
	p := direct.Buffer(len(data))
	_, err = r.ReadAt(p, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, p))
	require.Zero(t, cached(t, f, len(data)), "it was read through the cache")
	_, err = f.ReadAt(p, 0) // the same without O_DIRECT is seen
	require.NoError(t, err)
	require.NotZero(t, cached(t, f, len(data)))
}

// cached is how many pages of the file are in memory.
func cached(t *testing.T, f *os.File, size int) (n int) {
	t.Helper()
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(m)) }()
	in := make([]byte, size/direct.Align)
	require.NoError(t, mincore(m, in))
	for _, b := range in {
		n += int(b & 1)
	}
	return n
}

func TestWhatCannotBeReadSo(t *testing.T) {
	f, _ := file(t, 8192)
	require.NoError(t, os.Rename(f.Name(), f.Name()+".old"))
	_, err := direct.Open(f)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(f.Name(), make([]byte, 8192), 0o644))
	_, err = direct.Open(f)
	require.ErrorContains(t, err, "another file has its path now")
}
