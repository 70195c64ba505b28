package partition

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func imageFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	return path
}

func TestOpenAnImageFile(t *testing.T) {
	for _, sector := range []int{0, 4096} {
		path := imageFile(t, 64*mib+100)
		d, err := Open(path, OpenOptions{SectorSize: sector})
		require.NoError(t, err)
		require.Equal(t, int64(64*mib), d.Size(), "whole sectors")
		require.Equal(t, max(sector, 512), d.SectorSize())
		require.Equal(t, path, d.Path())
		l := planned(t, nil, d.Size(), d.SectorSize(), small("file"))
		require.NoError(t, Apply(d, l))

		_, err = d.WriteAt([]byte("x"), d.Size())
		require.ErrorIs(t, err, syscall.ENOSPC, "a file never grows")
		n, err := d.ReadAt(make([]byte, 8), d.Size()-4)
		require.Equal(t, 4, n)
		require.ErrorIs(t, err, io.EOF)

		p, err := d.Partition("META")
		require.NoError(t, err)
		require.Equal(t, 3, p.Entry.Number)
		require.Equal(t, int64(mib), p.Size())
		_, err = p.WriteAt([]byte("meta"), 0)
		require.NoError(t, err)
		require.NoError(t, p.Sync())
		require.NoError(t, p.DropCache())
		require.NoError(t, p.Close())
		require.ErrorIs(t, p.Close(), os.ErrClosed)
		_, err = d.Partition("BOOT")
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, d.Close())

		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Len(t, data, 64*mib+100)
		require.True(t, bytes.HasPrefix(data[p.Entry.First*int64(max(sector, 512)):], []byte("meta")))
	}
}

func TestOpenKeepsOthersOut(t *testing.T) {
	path := imageFile(t, 64*mib)
	d, err := Open(path, OpenOptions{})
	require.NoError(t, err)
	_, err = Open(path, OpenOptions{})
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, "another program has locked "+path)
	look, err := Open(path, OpenOptions{ReadOnly: true})
	require.NoError(t, err, "looking is always allowed")
	_, err = look.WriteAt([]byte("x"), 0)
	require.ErrorContains(t, err, "read-only")
	require.NoError(t, look.Sync())
	require.NoError(t, look.Close())
	child, err := unix.Dup(int(d.f.Fd())) // as one that is just being started has it
	require.NoError(t, err)
	require.NoError(t, d.Close())
	d, err = Open(path, OpenOptions{})
	require.NoError(t, err, "free at once")
	require.NoError(t, unix.Close(child))
	require.NoError(t, d.Close())

	d, err = Open(path, OpenOptions{Partitions: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	_, err = d.WriteAt([]byte("x"), 0)
	require.ErrorContains(t, err, "for its partitions only")
}

func TestPartitionsOfAFileOpenedForThem(t *testing.T) {
	path := imageFile(t, 64*mib)
	d, err := Open(path, OpenOptions{})
	require.NoError(t, err)
	require.NoError(t, Apply(d, planned(t, nil, d.Size(), 512, small("file"))))
	require.NoError(t, d.Close())
	for _, o := range []OpenOptions{{Partitions: true}, {ReadOnly: true}} {
		d, err := Open(path, o)
		require.NoError(t, err)
		p, err := d.Partition("META")
		require.NoError(t, err)
		_, err = p.WriteAt([]byte("x"), 0)
		require.Equal(t, o.ReadOnly, err != nil)
		require.NoError(t, d.Close())
	}
}

func TestADiskThatIsNoDisk(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for path, says := range map[string]string{
		dir:                     "it is a directory, want a disk or a disk image",
		"/dev/null":             "it is a character device",
		fifo:                    "it is a named pipe",
		imageFile(t, 1000):      "512 bytes, want at least 1048576",
		imageFile(t, mib-1):     "1048064 bytes, want at least 1048576",
		imageFile(t, 0):         "0 bytes, want at least",
		filepath.Join(dir, "x"): "no such file or directory",
	} {
		_, err := Open(path, OpenOptions{})
		require.ErrorContains(t, err, "open disk "+path+": ")
		require.ErrorContains(t, err, says)
		if filepath.Base(path) != "x" {
			require.ErrorIs(t, err, ErrForeign)
		} else {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	}
	_, err := Open(imageFile(t, mib), OpenOptions{SectorSize: 520})
	require.ErrorContains(t, err, "sector size 520")
}

// fake is a system with a disk 8:0 "sda", its partition 8:1 "sda1", and the given files.
func fake(t *testing.T, files map[string]string) system {
	t.Helper()
	root := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	put("sys/block/sda/dev", "8:0\n")
	put("sys/block/sda/sda1/dev", "8:1\n")
	put("sys/block/sda/sda1/partition", "1\n")
	put("sys/block/sda/sda1/start", "2048\n")
	put("sys/block/sda/sda1/size", "4096\n")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/dev/block"), 0o755))
	require.NoError(t, os.Symlink("../../block/sda", filepath.Join(root, "sys/dev/block/8:0")))
	require.NoError(t, os.Symlink("../../block/sda/sda1", filepath.Join(root, "sys/dev/block/8:1")))
	put("proc/self/mountinfo", "22 1 254:0 / / rw - ext4 /dev/vda rw\n")
	put("proc/swaps", "Filename Type Size Used Priority\n")
	for name, text := range files {
		put(name, text)
	}
	for name, space := range map[string]string{"self": "mnt:[1]", "1": "mnt:[1]", "77": "mnt:[2]"} {
		dir := filepath.Join(root, "proc", name)
		if _, err := os.Stat(dir); err == nil {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "ns"), 0o755))
			require.NoError(t, os.Symlink(space, filepath.Join(dir, "ns/mnt")))
		}
	}
	return system{filepath.Join(root, "sys"), filepath.Join(root, "proc"), "/dev"}
}

// blockInfo stands for a block device's node.
type blockInfo struct {
	os.FileInfo
	number uint64
}

func (b blockInfo) Mode() os.FileMode { return os.ModeDevice }
func (b blockInfo) Sys() any          { return &syscall.Stat_t{Rdev: b.number} }

func TestWhatIsInUseIsNotOpened(t *testing.T) {
	disk, part := blockInfo{number: unix.Mkdev(8, 0)}, blockInfo{number: unix.Mkdev(8, 1)}
	for name, c := range map[string]struct {
		files map[string]string
		info  os.FileInfo
		says  string
	}{
		"free": {nil, disk, ""},
		"partition mounted here": {map[string]string{"proc/self/mountinfo": "30 1 8:1 / /boot\\040efi rw shared:1 - " +
			"vfat /dev/sda1 rw\n"},
			disk, "/dev/sda1 is mounted at /boot efi; unmount it"},
		"mounted in another name space": {map[string]string{
			"proc/1/mountinfo":  "22 1 254:0 / / rw - ext4 /dev/vda rw\n",
			"proc/77/mountinfo": "40 1 8:1 / /var rw - xfs /dev/sda1 rw\n", "proc/77/comm": "containerd\n"},
			part, "/dev/x is mounted at /var in another mount name space, that of process 77 (containerd); unmount " +
				"it there"},
		"another partition of the disk": {map[string]string{"proc/self/mountinfo": "30 1 8:2 / /mnt rw - ext4 " +
			"/dev/sda2 rw\n"}, part, ""},
		"volume on top": {map[string]string{"sys/block/sda/sda1/holders/dm-0": ""}, disk, "sda1 is used by dm-0"},
	} {
		t.Run(name, func(t *testing.T) {
			err := fake(t, c.files).unused("/dev/x", c.info)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrBusy)
			require.ErrorContains(t, err, c.says)
		})
	}
	s := fake(t, nil)
	require.NoError(t, os.Remove(filepath.Join(s.proc, "self/mountinfo")))
	require.ErrorContains(t, s.unused("/dev/x", disk), "read the mount table", "not knowing is not free")
}

// What hides behind an error may be a mount, a volume or swap space.
func TestWhatCannotBeLookedAtIsNotFree(t *testing.T) {
	disk := blockInfo{number: unix.Mkdev(8, 0)}
	for name, file := range map[string]string{
		"a process's mounts": "proc/77/mountinfo/x",
		"swap space":         "proc/swaps/x",
		"loop devices":       "sys/block/loop0/loop/backing_file/x",
	} {
		t.Run(name, func(t *testing.T) {
			s := fake(t, nil)
			path := filepath.Join(filepath.Dir(s.sys), file) // a directory in the file's place cannot be read
			require.NoError(t, os.RemoveAll(filepath.Dir(path)))
			require.NoError(t, os.MkdirAll(path, 0o755))
			err := s.unused("/dev/sda", disk)
			if name == "loop devices" {
				err = s.noLoop("disk.raw", &syscall.Stat_t{})
			}
			require.ErrorIs(t, err, unix.EISDIR)
		})
	}
}

func TestAMountBehindAVeryLongLineIsSeen(t *testing.T) {
	long := "30 1 0:40 / /overlay rw - overlay overlay rw,lowerdir=" + strings.Repeat("/a:", 1<<20) + "\n"
	s := fake(t, map[string]string{"proc/self/mountinfo": long + "31 1 8:1 / /boot rw - vfat /dev/sda1 rw\n"})
	require.ErrorIs(t, s.unused("/dev/sda", blockInfo{number: unix.Mkdev(8, 0)}), ErrBusy)
}
