package disk

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestARawImageIsADisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	r, err := Create(path, 1<<30)
	require.NoError(t, err)
	require.Equal(t, int64(1<<30), r.Size())
	require.Equal(t, 512, r.SectorSize())
	require.Equal(t, path, r.Name())

	data := bytes.Repeat([]byte("pawl"), 5000)
	_, err = r.WriteAt(data, 1<<29)
	require.NoError(t, err)
	require.NoError(t, r.Sync())
	require.NoError(t, r.DropCache())
	got := make([]byte, len(data))
	_, err = r.ReadAt(got, 1<<29)
	require.NoError(t, err)
	require.Equal(t, data, got)
	past, err := r.Direct()
	require.NoError(t, err)
	clear(got)
	_, err = past.ReadAt(got, 1<<29)
	require.NoError(t, err)
	require.Equal(t, data, got)

	_, err = r.WriteAt(data, r.Size()-1)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, err = r.WriteAt(data, -1)
	require.Error(t, err)
	n, err := r.ReadAt(got, r.Size()-4)
	require.Equal(t, 4, n)
	require.ErrorIs(t, err, io.EOF)
	n, err = r.ReadAt(got, r.Size()+4)
	require.Equal(t, 0, n)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, r.Close())
	_, err = past.ReadAt(got, 1<<29)
	require.ErrorIs(t, err, os.ErrClosed)

	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	require.Equal(t, int64(1<<30), st.Size, "never grew")
	require.Less(t, st.Blocks*512, int64(1<<20), "sparse")
}

func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	r, err := Options{SectorSize: 4096}.Create(path, 1<<20)
	require.NoError(t, err)
	require.Equal(t, 4096, r.SectorSize())
	_, err = Open(path)
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, path)
	look, err := Options{ReadOnly: true}.Open(path)
	require.NoError(t, err)
	_, err = look.WriteAt([]byte("x"), 0)
	require.Error(t, err)
	require.NoError(t, look.Sync())
	require.NoError(t, look.DropCache())
	require.NoError(t, look.Close())
	require.NoError(t, r.Close())
	r, err = Open(path)
	require.NoError(t, err)
	require.NoError(t, r.Close())
}

func TestWhatIsRefused(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	require.NoError(t, os.WriteFile(there, []byte("precious"), 0o600))
	_, err := Create(there, 1<<20)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "remove the file that is there")
	data, err := os.ReadFile(there)
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))

	for _, size := range []int64{0, -512, 513} {
		_, err = Create(filepath.Join(dir, "new"), size)
		require.ErrorContains(t, err, "want a multiple of the sector size 512")
	}
	_, err = Options{SectorSize: 520}.Create(filepath.Join(dir, "new"), 520)
	require.ErrorContains(t, err, "sector size 520")
	require.NoFileExists(t, filepath.Join(dir, "new"))
	_, err = Create(filepath.Join(dir, "none", "new"), 512)
	require.ErrorIs(t, err, fs.ErrNotExist)

	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for path, says := range map[string]string{
		there: "8 bytes, want a multiple", dir: "is a directory", fifo: "not a regular file",
		"/dev/null":                  "not a regular file",
		filepath.Join(dir, "absent"): "no such file",
	} {
		_, err := Open(path)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "open disk image "+path)
	}
	require.ErrorContains(t, func() error { _, err := Options{SectorSize: 1}.Open(there); return err }(),
		"sector size 1")
}

// A large read finds bytes at each border of a hole, and zeros where there are none.
func TestReadsAcrossHoles(t *testing.T) {
	r := written(t, make([]byte, 8<<20), 512)
	for _, at := range []int64{0, 1<<20 - 1, 1 << 20, 3<<20 + 4095, 8<<20 - 1} {
		_, err := r.WriteAt([]byte{7}, at)
		require.NoError(t, err)
	}
	want := make([]byte, 8<<20)
	for _, at := range []int64{0, 1<<20 - 1, 1 << 20, 3<<20 + 4095, 8<<20 - 1} {
		want[at] = 7
	}
	for _, size := range []int64{chunkOfHole - 1, chunkOfHole, 1 << 20, 5 << 20} {
		for off := int64(0); off < 8<<20; off += 37 << 10 {
			p := bytes.Repeat([]byte{0xff}, int(size))
			n, err := r.ReadAt(p, off)
			if off+size > 8<<20 {
				require.ErrorIs(t, err, io.EOF)
			} else {
				require.NoError(t, err)
			}
			require.True(t, bytes.Equal(want[off:off+int64(n)], p[:n]), "%d bytes at %d", size, off)
		}
	}
	_, err := r.ReadAt(make([]byte, chunkOfHole), -1)
	require.Error(t, err)
}
