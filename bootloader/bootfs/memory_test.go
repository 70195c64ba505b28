package bootfs_test

import (
	"io"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// counted counts what is written.
type counted struct {
	*file
	bytes int64
}

func (c *counted) WriteAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.file.WriteAt(p, off)
}

func TestNoFileIsHeldInMemoryAndLittleElseIsWritten(t *testing.T) {
	f, err := createFile(filepath.Join(t.TempDir(), "image"), 1<<30, 512)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, bootfs.Format(f, bootfs.FormatOptions{}))
	dev := &counted{file: f}
	v, err := bootfs.Open(dev, bootfs.Options{})
	require.NoError(t, err)
	const size = 64 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w, err := v.Create("file", size)
	require.NoError(t, err)
	_, err = io.Copy(w, io.LimitReader(zeros{}, size))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "bytes allocated for 64 MiB")
	require.Less(t, dev.bytes, int64(size+size/100))
}
