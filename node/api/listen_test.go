package api

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenIsForThisMachineUnlessToldOtherwise(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"} {
		_, err := Listen(t.Context(), address, false)
		require.ErrorIs(t, err, ErrOpen, address)
		require.ErrorContains(t, err, address)
		require.ErrorContains(t, err, "insecure opens it", "the way out")
	}
	for address, insecure := range map[string]bool{"127.0.0.1:0": false, "127.1.2.3:0": false, "localhost:0": false,
		"0.0.0.0:0": true} {
		l, err := Listen(t.Context(), address, insecure)
		require.NoError(t, err, address)
		require.NoError(t, l.Close())
	}
	_, err := Listen(t.Context(), "nonsense", false)
	require.ErrorContains(t, err, "want HOST:PORT or unix:PATH")
}

func TestASocketIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", path) // what a killed service leaves behind
	require.NoError(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())

	l, err := Listen(t.Context(), "unix:"+path, false)
	require.NoError(t, err)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 1, "nothing else is left in the directory")

	_, err = Listen(t.Context(), "unix:"+path, false)
	require.ErrorContains(t, err, "another service answers there")
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
}

func TestAFileInTheSocketsPlaceIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err := Listen(t.Context(), "unix:"+path, false)
	require.ErrorContains(t, err, "that is no socket")
	require.FileExists(t, path)
}
