package efivar

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenDir(dir)
	require.NoError(t, err)
	require.NoError(t, s.(*files).Writable())
	count, last := 0, map[string]os.FileInfo{}
	testStore(t, s, func() int {
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		for _, f := range found {
			info, err := os.Stat(f)
			require.NoError(t, err)
			if old := last[f]; old == nil || !os.SameFile(old, info) { // each write makes a new file
				count++
			}
			last[f] = info
		}
		return count
	})
}

func TestFilesHoldWhatEfivarfsShows(t *testing.T) {
	dir := t.TempDir()
	s := OpenFiles(dir)
	require.NoError(t, s.Write(Global("BootOrder"), Variable{Kept, EncodeNumbers(1, 2, 3)}))
	require.NoError(t, s.Write(Global("BootOrder"), Variable{Kept, EncodeNumbers(2)}), "a shorter value leaves no tail")
	b, err := os.ReadFile(filepath.Join(dir, "BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	require.NoError(t, err)
	require.Equal(t, []byte{7, 0, 0, 0, 2, 0}, b)
	require.ErrorIs(t, s.Write(Global("BootOrder"), Variable{BootService, EncodeNumbers(2)}), fs.ErrInvalid,
		"attributes stay while it exists")

	require.NoError(t, os.WriteFile(filepath.Join(dir, ".new-1"), []byte("left by a kill"), 0o600))
	names, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []Name{Global("BootOrder")}, names)
}

func TestOpenDirNeedsADirectory(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := OpenDir(missing)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, missing)
	require.NoError(t, os.WriteFile(missing, nil, 0o600))
	_, err = OpenDir(missing)
	require.ErrorContains(t, err, "is no directory")
}
