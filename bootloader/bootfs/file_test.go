package bootfs_test

import (
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// file is a device on a regular file, as a disk image is.
type file struct {
	*os.File
	size   int64
	sector int
}

func createFile(path string, size int64, sector int) (*file, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &file{f, size, sector}, f.Truncate(size)
}

func (f *file) Size() int64     { return f.size }
func (f *file) SectorSize() int { return f.sector }

func (f *file) WriteBack(off, n int64) error {
	return unix.SyncFileRange(int(f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func TestAFileReadsAsItShould(t *testing.T) {
	dev := installed(t, tiny)
	f := reopen(t, dev)
	for _, n := range []int{0, 1, 511, 512, 513, 30_000} {
		data := content(3, n)
		require.NoError(t, f.WriteFile("EFI/pawl/A/hole", make([]byte, 700))) // so that the file is in pieces
		require.NoError(t, f.WriteFile("EFI/pawl/A/x", data))
		require.NoError(t, f.Remove("EFI/pawl/A/hole"))
		file, err := f.Open("EFI/pawl/A/x")
		require.NoError(t, err)
		require.Equal(t, int64(n), file.Size())
		require.NoError(t, iotest.TestReader(file, data))
		_, err = file.Seek(-1, io.SeekStart)
		require.Error(t, err)
		_, err = file.ReadAt(nil, -1)
		require.Error(t, err)
	}
}
