//go:build root

package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition"
)

// tool runs another program.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
	return strings.TrimSpace(string(out))
}

// TestUnmountOnARealDisk: a file system on a partition of a loop device, held by a process, then unmounted, seen to be
// free, and mounted again.
func TestUnmountOnARealDisk(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(raw, nil, 0o644))
	require.NoError(t, os.Truncate(raw, 64<<20))
	disk := tool(t, "losetup", "--find", "--show", raw)
	d, err := partition.Open(disk, partition.OpenOptions{})
	require.NoError(t, err)
	specs := partition.Default(partition.Defaults{EFI: 40 << 20, State: 1 << 20, Seed: "unmount"})
	layout, err := partition.Plan(nil, d.Size(), d.SectorSize(), specs)
	require.NoError(t, err)
	require.NoError(t, partition.Apply(d, layout))
	require.NoError(t, d.Close())
	p, err := layout.Find("EPHEMERAL")
	require.NoError(t, err)
	var node string
	for _, q := range layout.Partitions {
		name := filepath.Base(disk) + "p" + string(rune('0'+q.Number))
		number, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(disk), name, "dev"))
		require.NoError(t, err)
		major, minor, _ := strings.Cut(strings.TrimSpace(string(number)), ":")
		if _, err := os.Stat("/dev/" + name); err != nil { // where nothing makes them
			tool(t, "mknod", "/dev/"+name, "b", major, minor)
			t.Cleanup(func() { _ = os.Remove("/dev/" + name) })
		}
		if q.Number == p.Number {
			node = "/dev/" + name
		}
	}
	t.Cleanup(func() {
		tool(t, "partx", "--delete", disk)
		tool(t, "losetup", "--detach", disk)
	})
	tool(t, "mkfs.ext4", "-q", node)
	at := t.TempDir()
	require.NoError(t, unix.Mount(node, at, "ext4", unix.MS_NOATIME, ""))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	require.NoError(t, os.WriteFile(filepath.Join(at, "file"), []byte("kept"), 0o644))

	s, err := New(Config{Disk: disk, Unmount: []string{"EPHEMERAL"}})
	require.NoError(t, err)
	defer s.Close()
	s.config.UnmountDeadline = 300 * time.Millisecond
	require.ErrorIs(t, s.free(t.Context()), partition.ErrBusy, "it is mounted")

	holder := exec.Command("sleep", "60")
	holder.Dir = at
	require.NoError(t, holder.Start())
	var was mounted
	err = s.unmountAll(t.Context(), &was)
	require.ErrorIs(t, err, unix.EBUSY)
	require.ErrorContains(t, err, at+" is held by process")
	require.ErrorContains(t, err, "(sleep)")
	require.FileExists(t, filepath.Join(at, "file"))
	require.NoError(t, holder.Process.Kill())
	_ = holder.Wait()

	require.NoError(t, s.unmountAll(t.Context(), &was))
	require.NoFileExists(t, filepath.Join(at, "file"))
	require.NoError(t, s.free(t.Context()))
	require.NoError(t, was.back())
	content, err := os.ReadFile(filepath.Join(at, "file"))
	require.NoError(t, err)
	require.Equal(t, "kept", string(content))
}
