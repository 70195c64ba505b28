package efivar

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// plain is a store over an ordinary directory: the same calls, without the kernel's marks. A value that gets shorter
// leaves its tail in an ordinary file, which efivarfs does not; the tests only grow values.
func plain(t *testing.T) (*directory, string) {
	dir := t.TempDir()
	return &directory{dir: dir, mounted: func(string) bool { return true }}, dir
}

func TestDirectory(t *testing.T) {
	d, dir := plain(t)
	count, last := 0, map[string]string{}
	testStore(t, d, func() int {
		// A write is a change of a file's bytes.
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			st, err := os.Stat(f)
			require.NoError(t, err)
			if state := st.ModTime().String() + string(b); last[f] != state {
				last[f] = state
				count++
			}
		}
		return count
	})
}

func TestDirectoryBytes(t *testing.T) {
	d, dir := plain(t)
	require.NoError(t, d.Write(Global("BootNext"), Variable{Kept, EncodeNumbers(0x50)}))
	b, err := os.ReadFile(filepath.Join(dir, "BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	require.NoError(t, err)
	require.Equal(t, []byte{7, 0, 0, 0, 0x50, 0}, b)
}

func TestDirectoryEmptyFileIsNoVariable(t *testing.T) {
	d, dir := plain(t)
	path := filepath.Join(dir, Global("BootNext").String())
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := d.Read(Global("BootNext"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte{7, 0}, 0o600))
	_, err = d.Read(Global("BootNext"))
	require.ErrorIs(t, err, ErrFormat)
}

func TestDirectoryWithoutEfivarfs(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/nowhere"} {
		s := Open(dir)
		_, err := s.Read(Global("BootOrder"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorIs(t, s.Write(Global("BootOrder"), Variable{Kept, []byte{0, 0}}), ErrNotKept)
		require.NoError(t, s.Delete(Global("BootOrder")))
		require.ErrorIs(t, s.(*directory).Writable(), ErrNotKept)
		names, err := s.List()
		require.NoError(t, err)
		require.Empty(t, names)
		if left, err := os.ReadDir(dir); err == nil {
			require.Empty(t, left, "nothing was created")
		}
	}
}

func TestDirectoryWritable(t *testing.T) {
	d, _ := plain(t)
	require.NoError(t, d.Writable())
}

func TestNotKept(t *testing.T) {
	for _, cause := range []error{syscall.EROFS, syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.ENOSYS} {
		err := notKept(&fs.PathError{Op: "write", Path: "x", Err: cause})
		require.ErrorIs(t, err, ErrNotKept)
		require.ErrorIs(t, err, cause)
	}
	require.NotErrorIs(t, notKept(syscall.EIO), ErrNotKept)
	require.NoError(t, notKept(errors.Join(nil, nil)))
}
