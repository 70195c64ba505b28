package content_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image/content"
	"github.com/pawl-os/pawl/partition/disktest"
)

const mib = 1 << 20

var then = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)

// directory has a few files, with owners, modes and times that do not count.
func directory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc/Net works"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "empty"), 0o700))
	for name, text := range map[string]string{"etc/hostname": "node-1\n", "etc/Net works/eth0.yaml": "dhcp: true\n",
		"z": ""} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, os.Symlink("etc/hostname", filepath.Join(dir, "name")))
	return dir
}

func archive(t *testing.T, headers ...*tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		require.NoError(t, w.WriteHeader(h))
		_, err := w.Write(bytes.Repeat([]byte{'x'}, int(h.Size)))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "state.tar")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

func fill(t *testing.T, path string, size int64) ([]byte, error) {
	t.Helper()
	c, err := content.Open(path)
	require.NoError(t, err)
	d := disktest.New(size, 512)
	err = c.Fill(t.Context(), d, content.Options{Label: "STATE", VolumeID: 7, Time: then})
	data := make([]byte, size)
	_, _ = d.ReadAt(data, 0)
	return data, err
}

func TestADirectoryBecomesAFileSystem(t *testing.T) {
	dir := directory(t)
	one, err := fill(t, dir, 40*mib)
	require.NoError(t, err)
	d := disktest.New(40*mib, 512)
	_, err = d.WriteAt(one, 0)
	require.NoError(t, err)
	boot, err := bootfs.Open(d, bootfs.Options{})
	require.NoError(t, err)
	for name, want := range map[string]string{"etc/hostname": "node-1\n", "etc/Net works/eth0.yaml": "dhcp: true\n",
		"z": "", "name": "node-1\n"} {
		got, err := boot.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, want, string(got), name)
	}
	info, err := boot.Stat("empty")
	require.NoError(t, err)
	require.True(t, info.Dir)
	problems, err := boot.Check()
	require.NoError(t, err)
	require.Empty(t, problems)

	require.NoError(t, os.Chtimes(filepath.Join(dir, "z"), then, then))
	require.NoError(t, os.Chmod(filepath.Join(dir, "z"), 0o755))
	two, err := fill(t, dir, 40*mib)
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, two), "modes and times do not count")
}

func TestATarBecomesAFileSystem(t *testing.T) {
	path := archive(t, &tar.Header{Name: "./", Typeflag: tar.TypeDir},
		&tar.Header{Name: "./a/b", Size: 5000, Mode: 0o4755},
		&tar.Header{Name: "a/c/", Typeflag: tar.TypeDir})
	data, err := fill(t, path, 40*mib)
	require.NoError(t, err)
	d := disktest.New(40*mib, 512)
	_, err = d.WriteAt(data, 0)
	require.NoError(t, err)
	boot, err := bootfs.Open(d, bootfs.Options{})
	require.NoError(t, err)
	got, err := boot.ReadFile("a/b")
	require.NoError(t, err)
	require.Len(t, got, 5000)
	_, err = boot.Stat("a/c")
	require.NoError(t, err)
}

func TestAFileIsCopied(t *testing.T) {
	want := make([]byte, 3*mib)
	copy(want[1*mib+512:], "a file system")
	path := filepath.Join(t.TempDir(), "state.ext4")
	require.NoError(t, os.WriteFile(path, want, 0o600))
	got, err := fill(t, path, 4*mib)
	require.NoError(t, err)
	require.True(t, bytes.Equal(append(want, make([]byte, mib)...), got))
}

func TestContentsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		says string
	}{
		"nothing":          {filepath.Join(t.TempDir(), "gone"), "no such file"},
		"a device":         {"/dev/null", "want a file, a tar or a directory"},
		"a link in a tar":  {archive(t, &tar.Header{Name: "l", Linkname: "x", Typeflag: tar.TypeSymlink}), `"l" is no file`},
		"a path outside":   {archive(t, &tar.Header{Name: "../l"}), "a path that stays inside"},
		"an absolute path": {archive(t, &tar.Header{Name: "/l"}), "a path that stays inside"},
	} {
		_, err := content.Open(c.path)
		require.ErrorContains(t, err, c.says, name)
	}
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.MkdirAll(large, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(large, "f"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(large, "f"), 1<<32))
	_, err := content.Open(large)
	require.ErrorIs(t, err, bootfs.ErrTooLarge)
	linked := filepath.Join(t.TempDir(), "linked")
	require.NoError(t, os.MkdirAll(linked, 0o755))
	require.NoError(t, os.Symlink("/usr", filepath.Join(linked, "usr")))
	_, err = content.Open(linked)
	require.ErrorContains(t, err, "a link to a directory")

	odd := filepath.Join(t.TempDir(), "odd")
	require.NoError(t, os.WriteFile(odd, make([]byte, 700), 0o600))
	_, err = fill(t, odd, mib)
	require.ErrorContains(t, err, "700 bytes, want a multiple of the sector size")
	require.NoError(t, os.Truncate(odd, 2*mib))
	_, err = fill(t, odd, mib)
	require.ErrorContains(t, err, "has 2097152 bytes, and the partition 1048576")
	case1 := archive(t, &tar.Header{Name: "a"}, &tar.Header{Name: "A"})
	_, err = fill(t, case1, 40*mib)
	require.ErrorContains(t, err, `"A"`)
	require.ErrorIs(t, err, os.ErrExist)
	_, err = fill(t, directory(t), 4*mib)
	require.Error(t, err, "a FAT32 is larger")
	_, err = fill(t, archive(t, &tar.Header{Name: "a", Size: 36 * mib}), 36*mib)
	require.ErrorIs(t, err, bootfs.ErrFull)

	c, err := content.Open(directory(t))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Fill(ctx, disktest.New(40*mib, 512), content.Options{}), context.Canceled)
}
