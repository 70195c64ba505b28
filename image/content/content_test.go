package content_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image/content"
	"github.com/pawl-os/pawl/image/ext4"
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

func archive(t testing.TB, headers ...*tar.Header) string {
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
	return fillAs(t, content.FAT32, path, size, 0)
}

// fillAs fills a partition that held the same byte everywhere.
func fillAs(t *testing.T, system content.FileSystem, path string, size int64, was byte) ([]byte, error) {
	t.Helper()
	c, err := system.Open(path)
	require.NoError(t, err)
	d := disktest.New(size, 512)
	if was != 0 {
		_, err = d.WriteAt(bytes.Repeat([]byte{was}, int(size)), 0)
		require.NoError(t, err)
	}
	err = c.Fill(t.Context(), d, content.Options{Label: "STATE", VolumeID: 7, UUID: uuid.UUID{1}, Time: then})
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

// A directory becomes an ext4 as it is, but for owners and times; a tar with them. What the disk held before is gone.
func TestAnExt4IsMade(t *testing.T) {
	dir := directory(t)
	one, err := fillAs(t, content.Ext4, dir, 16*mib, 0)
	require.NoError(t, err)
	require.Contains(t, string(one), "node-1\n")
	require.NoError(t, os.Chtimes(filepath.Join(dir, "z"), then, then))
	two, err := fillAs(t, content.Ext4, dir, 16*mib, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(one, two), "times do not count")
	require.NoError(t, os.Chmod(filepath.Join(dir, "z"), 0o755))
	two, err = fillAs(t, content.Ext4, dir, 16*mib, 0)
	require.NoError(t, err)
	require.False(t, bytes.Equal(one, two), "modes do")

	const large = "\xa5"
	used, err := fillAs(t, content.Ext4, dir, 16*mib, large[0])
	require.NoError(t, err)
	for i, c := range used { // what belongs to nothing is left
		if c == large[0] && two[i] == 0 {
			used[i] = 0
		}
	}
	require.True(t, bytes.Equal(used, two))

	for name, c := range map[string]struct {
		header tar.Header
		says   string
	}{
		"a socket":          {tar.Header{Name: "s", Typeflag: 'x' + 1}, "which an ext4 cannot hold"},
		"an odd owner":      {tar.Header{Name: "s", Uid: 1 << 33}, "owner 8589934592:0: want numbers of 32 bits"},
		"an odd device":     {tar.Header{Name: "s", Typeflag: tar.TypeBlock, Devmajor: 5000}, "device 5000:0 cannot be"},
		"a link to nothing": {tar.Header{Name: "s", Typeflag: tar.TypeLink, Linkname: "gone"}, "gone, which it is another"},
		"a path outside":    {tar.Header{Name: "../s"}, "a path that stays inside"},
	} {
		c.header.Format = tar.FormatPAX
		if c.header.Uid > 1<<32 || c.header.Devmajor > 4096 {
			c.header.Format = tar.FormatGNU
		}
		path := archive(t, &c.header)
		made, err := content.Ext4.Open(path)
		if err == nil {
			err = made.Fits(16 * mib)
		}
		require.ErrorContains(t, err, c.says, name)
	}
	_, err = fillAs(t, content.Ext4, archive(t, &tar.Header{Name: "a", Size: 16 * mib}), 16*mib, 0)
	require.ErrorIs(t, err, ext4.ErrNoSpace)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := content.Ext4.Open(dir)
	require.NoError(t, err)
	require.ErrorIs(t, c.Fill(cancelled, disktest.New(16*mib, 512), content.Options{}), context.Canceled)
}

func TestAFileIsCopied(t *testing.T) {
	want := make([]byte, 3*mib)
	copy(want[1*mib+512:], "a file system")
	path := filepath.Join(t.TempDir(), "state.ext4")
	require.NoError(t, os.WriteFile(path, want, 0o600))
	got, err := fill(t, path, 4*mib)
	require.NoError(t, err)
	require.True(t, bytes.Equal(append(want[:3*mib:3*mib], make([]byte, mib)...), got))
	got, err = fillAs(t, content.FAT32, path, 4*mib, 0xa5) // onto a disk that was used
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got[:3*mib]))
}

func TestContentsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		says string
	}{
		"nothing":          {filepath.Join(t.TempDir(), "gone"), "no such file"},
		"a device":         {"/dev/null", "want a file, a tar or a directory"},
		"a link in a tar":  {archive(t, &tar.Header{Name: "l", Linkname: "x", Typeflag: tar.TypeSymlink}), `"l": it is no file`},
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
