//go:build root

package partition

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/siderolabs/go-blockdevice/v2/block"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// loop attaches an image file to a loop device with sectors of the given size.
func loop(t *testing.T, size int64, sector int) (node, image string) {
	t.Helper()
	image = imageFile(t, size)
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", strconv.Itoa(sector),
		image).CombinedOutput()
	require.NoError(t, err, "losetup: %s", out)
	node = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		d := must(os.Open(node))
		defer func() { require.NoError(t, d.Close()) }()
		parts, err := hostSystem.kernelPartitions(d)
		require.NoError(t, err)
		for n := range parts { // or the next user of the loop device would find them
			_ = os.Remove(fmt.Sprintf("%sp%d", node, n))
			require.NoError(t, block.NewFromFile(d).KernelPartitionDelete(n))
		}
		out, err := exec.Command("losetup", "--detach", node).CombinedOutput()
		require.NoError(t, err, "losetup: %s", out)
	})
	return node, image
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// nodes makes the device nodes of a disk's partitions where nothing else does.
func nodes(t *testing.T, d *Disk) {
	t.Helper()
	dirs, err := hostSystem.children(must(deviceNumber(d.f)))
	require.NoError(t, err)
	for _, dir := range dirs {
		node := filepath.Join("/dev", filepath.Base(dir))
		var major, minor uint32
		_, err := fmt.Sscanf(string(must(os.ReadFile(filepath.Join(dir, "dev")))), "%d:%d", &major, &minor)
		require.NoError(t, err)
		want := unix.Mkdev(major, minor)
		var st unix.Stat_t
		if unix.Stat(node, &st) == nil && st.Rdev == want {
			continue
		}
		_ = os.Remove(node)
		require.NoError(t, unix.Mknod(node, unix.S_IFBLK|0o600, int(want)))
	}
}

func partitioned(t *testing.T, node string) *Disk {
	t.Helper()
	d, err := Open(node, OpenOptions{})
	require.NoError(t, err)
	require.NoError(t, Apply(d, planned(t, nil, d.Size(), d.SectorSize(), small("loop"))))
	nodes(t, d)
	return d
}

func TestARealDisk(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(strconv.Itoa(sector), func(t *testing.T) {
			node, image := loop(t, 64*mib, sector)
			d := partitioned(t, node)
			require.Equal(t, int64(64*mib), d.Size())
			require.Equal(t, sector, d.SectorSize())
			l, err := Read(d)
			require.NoError(t, err)
			kernel, err := hostSystem.kernelPartitions(d.f)
			require.NoError(t, err)
			require.Len(t, kernel, 5)
			for _, p := range l.Partitions {
				require.Equal(t, extent{p.First * int64(sector), l.Bytes(p)}, kernel[p.Number], "the kernel knows %v",
					p)
			}
			requireNoProblemsOf(t, node)

			_, err = Open(node, OpenOptions{})
			require.ErrorIs(t, err, ErrBusy)
			_, err = Open(image, OpenOptions{})
			require.ErrorIs(t, err, ErrBusy)
			require.ErrorContains(t, err, "is attached to "+node)

			// One partition, by its own node; the disk is left alone for that time.
			p, err := d.Partition("META")
			require.NoError(t, err)
			_, err = p.WriteAt([]byte("meta"), 0)
			require.NoError(t, err)
			require.NoError(t, p.Sync())
			require.NoError(t, p.DropCache())
			past, err := p.Direct()
			require.NoError(t, err)
			straight := make([]byte, 4)
			_, err = past.ReadAt(straight, 0)
			require.NoError(t, err)
			require.Equal(t, "meta", string(straight))
			_, err = d.WriteAt([]byte("x"), 0)
			require.ErrorContains(t, err, "1 of its partitions are open")
			_, err = d.Partition("META")
			require.ErrorIs(t, err, ErrBusy)
			second, err := d.Partition("STATE")
			require.NoError(t, err)
			require.NoError(t, second.Close())
			require.NoError(t, p.Close())
			require.NoError(t, d.DropCache())
			b := make([]byte, 4)
			_, err = d.ReadAt(b, p.Entry.First*int64(sector))
			require.NoError(t, err)
			require.Equal(t, "meta", string(b))

			// The disk again, and only it.
			_, err = d.WriteAt(make([]byte, 4096), d.Size()/2)
			require.NoError(t, err)
			_, err = os.OpenFile(fmt.Sprintf("%sp5", node), os.O_RDWR|unix.O_EXCL, 0)
			require.ErrorIs(t, err, unix.EBUSY)
			require.NoError(t, d.Close())
		})
	}
}

// What the kernel shows of a disk need not be on it: a program before this one may have ended with a flush that failed.
func TestOpenReadsTheDiskAndNotTheCache(t *testing.T) {
	node, image := loop(t, 64*mib, 512)
	require.NoError(t, partitioned(t, node).Close())
	other, err := os.Open(node) // keeps the cache
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	_, err = other.ReadAt(make([]byte, 8192), 32*mib)
	require.NoError(t, err)
	file, err := os.OpenFile(image, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("on the medium"), 32*mib)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	b := make([]byte, 13)
	_, err = other.ReadAt(b, 32*mib)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 13), b, "the cache is another thing")

	d, err := Open(node, OpenOptions{})
	require.NoError(t, err)
	_, err = d.ReadAt(b, 32*mib)
	require.NoError(t, err)
	require.Equal(t, "on the medium", string(b))
	require.NoError(t, d.Close())
}

func requireNoProblemsOf(t *testing.T, node string) {
	t.Helper()
	out, err := exec.Command("sgdisk", "-v", node).CombinedOutput()
	require.NoError(t, err, string(out))
	require.True(t, strings.HasPrefix(strings.TrimSpace(string(out)), "No problems found"), string(out))
}

func TestADiskThatGrew(t *testing.T) {
	node, image := loop(t, 64*mib, 512)
	require.NoError(t, partitioned(t, node).Close())
	require.NoError(t, os.Truncate(image, 100*mib))
	out, err := exec.Command("losetup", "--set-capacity", node).CombinedOutput()
	require.NoError(t, err, string(out))

	d, err := Open(node, OpenOptions{})
	require.NoError(t, err)
	now, err := Read(d)
	require.NoError(t, err)
	require.Contains(t, now.Problems[0], "the disk grew")
	grown, err := Grow(now, d.Size())
	require.NoError(t, err)
	require.NoError(t, Apply(d, grown))
	kernel, err := hostSystem.kernelPartitions(d.f)
	require.NoError(t, err)
	require.Equal(t, int64(99*mib), kernel[5].start+kernel[5].length)
	requireNoProblemsOf(t, node)
	require.NoError(t, d.Close())
}

func TestAMountedPartition(t *testing.T) {
	node, _ := loop(t, 64*mib, 512)
	require.NoError(t, partitioned(t, node).Close())
	last := node + "p5"
	out, err := exec.Command("mkfs.ext4", "-q", last).CombinedOutput()
	require.NoError(t, err, string(out))
	at := t.TempDir()

	refused := func(t *testing.T, says string) {
		t.Helper()
		_, err := Open(node, OpenOptions{})
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorContains(t, err, says)
		d, err := Open(node, OpenOptions{Partitions: true})
		require.NoError(t, err)
		_, err = d.Partition("EPHEMERAL")
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorContains(t, err, says)
		meta, err := d.Partition("META")
		require.NoError(t, err, "another partition of the same disk can be written")
		_, err = meta.WriteAt([]byte("x"), 0)
		require.NoError(t, err)
		require.NoError(t, meta.Close())
		require.NoError(t, d.Close())
	}
	t.Run("here", func(t *testing.T) {
		require.NoError(t, unix.Mount(last, at, "ext4", 0, ""))
		defer func() { require.NoError(t, unix.Unmount(at, 0)) }()
		refused(t, last+" is mounted at "+at+"; unmount it")
	})
	t.Run("in another mount name space", func(t *testing.T) {
		ready := filepath.Join(t.TempDir(), "ready")
		require.NoError(t, unix.Mkfifo(ready, 0o600))
		c := exec.Command("sh", "-c", `mount "$1" "$2" && echo > "$3" && read wait`, "sh", last, at, ready)
		c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		hold, err := c.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		_, err = os.ReadFile(ready)
		require.NoError(t, err)
		refused(t, fmt.Sprintf("%s is mounted at %s in another mount name space, that of process %d (sh)", last, at,
			c.Process.Pid))
		require.NoError(t, hold.Close())
		_ = c.Wait()
	})
	d, err := Open(node, OpenOptions{})
	require.NoError(t, err, "free again")
	require.NoError(t, d.Close())
}

func TestTheKernelFollowsEveryChange(t *testing.T) {
	node, _ := loop(t, 64*mib, 512)
	d, err := Open(node, OpenOptions{})
	require.NoError(t, err)
	specs := small("loop")
	specs[4].Size = 8 * mib
	l := planned(t, nil, d.Size(), 512, specs)
	require.NoError(t, Apply(d, l))
	more := []Spec{{Label: "more", Type: TypeLinux, GUID: uuid.New(), Size: 4 * mib}}
	now, err := Read(d)
	require.NoError(t, err)
	require.NoError(t, Apply(d, planned(t, &now, d.Size(), 512, more)))
	nodes(t, d)
	kernel, err := hostSystem.kernelPartitions(d.f)
	require.NoError(t, err)
	require.Len(t, kernel, 6)
	p, err := d.Partition("more")
	require.NoError(t, err)
	require.Equal(t, int64(4*mib), p.Size())
	full := bytes.Repeat([]byte{0xa5}, 4*mib)
	_, err = p.WriteAt(full, 0)
	require.NoError(t, err)
	require.NoError(t, Wipe(p))
	copy(full, make([]byte, mib))
	copy(full[3*mib:], make([]byte, mib))
	copy(full[mib:], make([]byte, 4096)) // where VMFS and bcachefs have their marks
	copy(full[2*mib:], make([]byte, 4096))
	copy(full[(4*mib-3087*512)&^4095:], make([]byte, 4096)) // and Promise's firmware
	got := make([]byte, 4*mib)
	_, err = p.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(full, got), "by the kernel's request, and nothing else")
	require.NoError(t, p.Close())

	// Wiped and made anew: the kernel forgets what is gone, also where the new partitions lie.
	require.NoError(t, Wipe(d))
	require.NoError(t, Apply(d, planned(t, nil, d.Size(), 512, small("anew"))))
	kernel, err = hostSystem.kernelPartitions(d.f)
	require.NoError(t, err)
	require.Len(t, kernel, 5)
	require.NoError(t, d.Close())
}
