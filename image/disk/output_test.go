package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/device"
)

func TestAnOutputAppearsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.raw")
	names := func() (all []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	out, err := NewOutput(path)
	require.NoError(t, err)
	require.NoFileExists(t, path)
	require.NoError(t, out.Close())
	require.Empty(t, names())

	out, err = NewOutput(path)
	require.NoError(t, err)
	raw, err := out.Raw(1<<20, 4096)
	require.NoError(t, err)
	require.Equal(t, 4096, raw.SectorSize())
	_, err = raw.WriteAt([]byte("x"), 1<<19)
	require.NoError(t, err)
	require.NoError(t, out.Commit())
	require.NoError(t, out.Close())
	require.Equal(t, []string{"disk.raw"}, names())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), info.Size())

	// What came there meanwhile stays.
	out, err = NewOutput(path + "2")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+"2", []byte("precious"), 0o600))
	require.ErrorIs(t, out.Commit(), fs.ErrExist)
	require.NoError(t, out.Close())
	require.Equal(t, []string{"disk.raw", "disk.raw2"}, names())
	data, err := os.ReadFile(path + "2")
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))

	_, err = NewOutput(path)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "remove the file that is there")
	for _, name := range []string{dir, dir + "/"} {
		_, err = NewOutput(name)
		require.ErrorContains(t, err, "it is a directory; name a file in it")
	}
	_, err = NewOutput(filepath.Join(dir, "none", "disk"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A folder that vanishes meanwhile ends in an error that names the file.
func TestAnOutputWhoseFolderVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stick")
	require.NoError(t, os.Mkdir(dir, 0o755))
	out, err := NewOutput(filepath.Join(dir, "disk.raw"))
	require.NoError(t, err)
	_, err = out.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	err = out.Commit()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "make "+filepath.Join(dir, "disk.raw"))
	_ = out.Close()
	require.NoDirExists(t, dir)
}

// Zeros take no room in a file that is being made, and are written where something else was.
func TestZerosInAnOutput(t *testing.T) {
	out, err := NewOutput(filepath.Join(t.TempDir(), "disk.raw"))
	require.NoError(t, err)
	defer out.Close()
	raw, err := out.Raw(8<<20, 512)
	require.NoError(t, err)
	require.True(t, device.IsWhole(raw))
	put := func(p []byte, off int64) {
		n, err := raw.WriteAt(p, off)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
	}
	blocks := func() int64 {
		var st unix.Stat_t
		require.NoError(t, unix.Stat(out.Name(), &st))
		return st.Blocks * 512
	}
	put(make([]byte, 4<<20), 1<<20)
	require.Zero(t, blocks())
	put([]byte{1}, 3<<20)
	put(make([]byte, 4<<20), 1<<20)
	got := []byte{2}
	_, err = raw.ReadAt(got, 3<<20)
	require.NoError(t, err)
	require.Equal(t, []byte{0}, got)
	_, err = raw.WriteAt(make([]byte, 1<<20), 8<<20-512)
	require.ErrorIs(t, err, unix.ENOSPC, "past the end, zeros or not")

	there, err := Create(filepath.Join(t.TempDir(), "there.raw"), 1<<20)
	require.NoError(t, err)
	defer there.Close()
	require.False(t, device.IsWhole(there))
}
