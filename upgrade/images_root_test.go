//go:build root

package upgrade_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// On a real disk each half is a block device of its own: it is opened exclusively, written, and read past the cache.
// One that is in use is refused while the target still holds what it held.
func TestTheHalvesOfARealDisk(t *testing.T) {
	r := startRooted(t)
	two := r.rooted("2.0.0", nil)
	file := filepath.Join(t.TempDir(), "disk")
	data := make([]byte, r.Disk.Size())
	_, err := r.Disk.ReadAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	layout, err := partition.Read(r.Disk)
	require.NoError(t, err)
	loop := attach(t, file, layout)
	half, err := layout.Find("ROOT-B")
	require.NoError(t, err)
	apply := func() error {
		m, err := upgrade.Open(loop, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars, Cmdline: &r.Last.Cmdline,
			BootID: r.BootID(), Version: "1.0.0", Now: virtual.Now})
		require.NoError(t, err)
		defer m.Close()
		_, err = m.Apply(t.Context(), two, upgrade.Options{})
		return err
	}
	busy, err := os.OpenFile(fmt.Sprintf("%sp%d", loop, half.Number), os.O_RDWR|unix.O_EXCL, 0)
	require.NoError(t, err)
	require.ErrorIs(t, apply(), partition.ErrBusy)
	require.NoError(t, busy.Close())
	now, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, now), "nothing was written")

	require.NoError(t, apply())
	now, err = os.ReadFile(file)
	require.NoError(t, err)
	_, err = r.Disk.WriteAt(now, 0)
	require.NoError(t, err)
	r.hasRoot("A", "1.0.0")
	r.hasRoot("B", "2.0.0")
	r.boots("B", "2.0.0")
}

// attach makes a disk image a block device with the partitions of a layout. Not every kernel looks for tables on loop
// devices by itself, nor does everything make nodes.
func attach(t *testing.T, file string, layout partition.Layout) (loop string) {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	loop = strings.TrimSpace(string(out))
	node, err := os.Open(loop)
	require.NoError(t, err)
	kernel := block.NewFromFile(node)
	t.Cleanup(func() {
		for _, p := range layout.Partitions {
			_ = kernel.KernelPartitionDelete(p.Number)
		}
		require.NoError(t, node.Close())
		require.NoError(t, exec.Command("losetup", "--detach", loop).Run())
	})
	for n := range 16 {
		_ = kernel.KernelPartitionDelete(n + 1) // left by whoever had the loop device before
	}
	for _, p := range layout.Partitions {
		require.NoError(t, kernel.KernelPartitionAdd(p.Number, uint64(p.First*512), uint64(layout.Bytes(p))))
		path := fmt.Sprintf("%sp%d", loop, p.Number)
		text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(path), "dev"))
		require.NoError(t, err)
		var major, minor uint32
		_, err = fmt.Sscanf(string(text), "%d:%d", &major, &minor)
		require.NoError(t, err)
		_ = os.Remove(path)
		require.NoError(t, unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))))
		t.Cleanup(func() { _ = os.Remove(path) })
	}
	return loop
}
