//go:build root

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
)

// distinct makes machines whose disks have identifiers of their own, so that this machine's other disks are not
// mistaken for them.
func (f *factory) distinct() *factory {
	f.t.Helper()
	specs := partition.Default(partition.Defaults{EFI: 40 << 20, State: 1 << 20})
	specs[len(specs)-1].Size = 1 << 20
	m := &virtual.Machine{Disk: disktest.New(virtual.Size, 512), Vars: efivar.NewMemory()}
	one, err := f.images.Image("1.0.0", virtual.Spec{Size: 10_000})
	require.NoError(f.t, err)
	require.NoError(f.t, upgrade.Install(f.t.Context(), m.Disk, one, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: specs, Now: virtual.Now}))
	require.NoError(f.t, m.Boot())
	other := *f
	other.uki, other.vars, other.disk = m.Last.Digest, m.Vars.Values(), make([]byte, m.Disk.Size())
	_, err = m.Disk.ReadAt(other.disk, 0)
	require.NoError(f.t, err)
	return &other
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

// attach makes the box's disk a block device with partitions, and returns the file that holds it.
func (b *box) attach() (file string) {
	b.t.Helper()
	file = b.disk
	b.disk = command(b.t, "losetup", "--find", "--show", file)
	node, err := os.Open(b.disk)
	require.NoError(b.t, err)
	raw, err := disk.Options{ReadOnly: true}.Open(file)
	require.NoError(b.t, err)
	layout, err := partition.Read(raw)
	require.NoError(b.t, err)
	require.NoError(b.t, raw.Close())
	kernel, disk := block.NewFromFile(node), b.disk // not every kernel looks for tables on loop devices by itself
	b.t.Cleanup(func() {
		for _, p := range layout.Partitions { // an install may have replaced some
			_ = kernel.KernelPartitionDelete(p.Number)
		}
		require.NoError(b.t, node.Close())
		command(b.t, "losetup", "--detach", disk)
	})
	for n := range 16 {
		_ = kernel.KernelPartitionDelete(n + 1) // left by whoever had the loop device before
	}
	for _, p := range layout.Partitions {
		require.NoError(b.t, kernel.KernelPartitionAdd(p.Number, uint64(p.First*512), uint64(layout.Bytes(p))))
		b.node(p.Number)
	}
	return file
}

// node is the device node of a partition. Where nothing else makes nodes it is made here.
func (b *box) node(n int) string {
	b.t.Helper()
	path := fmt.Sprintf("%sp%d", b.disk, n)
	text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(path), "dev"))
	require.NoError(b.t, err)
	var major, minor uint32
	_, err = fmt.Sscanf(string(text), "%d:%d", &major, &minor)
	require.NoError(b.t, err)
	want := unix.Mkdev(major, minor)
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil && st.Rdev == want {
		return path
	}
	_ = os.Remove(path)
	require.NoError(b.t, unix.Mknod(path, unix.S_IFBLK|0o600, int(want)))
	b.t.Cleanup(func() { _ = os.Remove(path) })
	return path
}

func mount(t *testing.T, source, kind string, flags uintptr, options string) (at string) {
	t.Helper()
	at = t.TempDir()
	require.NoError(t, unix.Mount(source, at, kind, flags, options))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(at, 0)) })
	return at
}

// content of a disk that is attached is that of its file, once what is cached is written.
func contentOf(t *testing.T, file string) []byte {
	t.Helper()
	unix.Sync()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return data
}

func TestTheMachinesOwnDiskIsFound(t *testing.T) {
	f := newFactory(t).distinct()
	b := f.box(t)
	file := b.attach()
	flags := b.machine()[2:] // without --disk
	status, out := run(t, append([]string{"status"}, flags...)...)
	require.Zero(t, status, out)
	require.Contains(t, out, "1.0.0 in slot A")

	// The state's file system is mounted, as it is on a machine that runs.
	command(t, "mkfs.ext2", "-q", b.node(4))
	mount(t, b.node(4), "ext2", 0, "")
	status, out = run(t, append([]string{"upgrade", "--image", f.reference("2.0.0", virtual.Spec{})}, flags...)...)
	require.Zero(t, status, out)
	unix.Sync()
	first := b.disk
	b.disk = file
	boots, _ := b.model()
	require.True(t, boots.Trial && boots.Slot == bootloader.B, "%s", boots)

	// A second disk with the same identifiers: which of the two it is cannot be known.
	copied := f.box(t)
	copied.attach()
	status, out = run(t, append([]string{"status"}, flags...)...)
	require.Equal(t, exitUsage, status, out)
	for _, say := range []string{first, copied.disk, "name it with --disk"} {
		require.Contains(t, out, say)
	}
}

// A partition that somebody has mounted is not written, wherever it is mounted, and the message says where.
func TestMountedPartition(t *testing.T) {
	f := newFactory(t).distinct()
	two := f.reference("2.0.0", virtual.Spec{})
	commands := func(b *box) [][]string {
		return [][]string{
			append([]string{"upgrade", "--image", two}, b.machine()...),
			append([]string{"rollback"}, b.machine()...),
			append([]string{"confirm"}, b.machine()...),
			{"install", "--force", "--image", two, "--disk", b.disk},
			{"disk", "repair", "--disk", b.disk},
			{"disk", "grow", "--disk", b.disk},
		}
	}
	refused := func(t *testing.T, b *box, file string, says ...string) {
		t.Helper()
		before, vars := contentOf(t, file), b.values()
		for _, args := range commands(b) {
			status, out := run(t, args...)
			t.Log(out)
			require.Equal(t, exitRefused, status, out)
			for _, say := range says {
				require.Contains(t, out, say)
			}
		}
		require.Empty(t, changes(before, contentOf(t, file)))
		require.Equal(t, vars, b.values())
	}
	// This kernel may have no vfat: what counts is that the partition is mounted.
	foreign := func(t *testing.T, b *box, n int) string {
		t.Helper()
		command(t, "mkfs.ext2", "-q", "-F", b.node(n))
		return b.node(n)
	}
	for n, label := range map[int]string{1: "EFI", 3: "META"} {
		t.Run(label, func(t *testing.T) {
			b := f.box(t)
			file := b.attach()
			node := foreign(t, b, n)
			at := mount(t, node, "ext2", unix.MS_RDONLY, "")
			refused(t, b, file, node+" is mounted at "+at+"; unmount it")
		})
		t.Run(label+" in another mount name space", func(t *testing.T) {
			b := f.box(t)
			file := b.attach()
			node := foreign(t, b, n)
			at := t.TempDir()
			c := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
				`mount -t ext2 -o ro "$0" "$1" && echo mounted && read end`, node, at)
			in, err := c.StdinPipe()
			require.NoError(t, err)
			out, err := c.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, c.Start())
			defer func() { _ = in.Close(); _ = c.Wait() }()
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "mounted\n", line)
			require.NotContains(t, command(t, "cat", "/proc/self/mounts"), node, "not in this one")
			refused(t, b, file, node+" is mounted at "+at+" in another mount name space, that of process",
				"unmount it there or end the process")
		})
	}
}

// Variables on a file system that is mounted read-only are refused before the disk is touched.
func TestReadOnlyVariables(t *testing.T) {
	f := newFactory(t)
	b := f.box(t)
	values := b.values()
	b.vars = mount(t, "none", "tmpfs", 0, "size=1m")
	for name, value := range values {
		require.NoError(t, os.WriteFile(filepath.Join(b.vars, name), value, 0o600))
	}
	require.NoError(t, unix.Mount("none", b.vars, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	status, out := b.on("upgrade", "--image", f.reference("2.0.0", virtual.Spec{}))
	t.Log(out)
	require.Equal(t, exitRefused, status, out)
	require.Contains(t, out, "read-only file system")
	require.Contains(t, out, b.vars)
	require.Contains(t, out, "mount efivarfs writable")
	b.unchanged(f.disk, values)
	status, out = b.on("status")
	require.Zero(t, status, out)
	require.Contains(t, out, "read-only file system", "it can be seen beforehand")
}
