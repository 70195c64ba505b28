//go:build vm

package rootfs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/partition"
)

const bootWithin = 4 * time.Minute // machines are emulated

// initramfs is one with verityguest and the modules that it needs.
func initramfs(t *testing.T, modulesDir string) string {
	dir := t.TempDir()
	init := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-o", init, "./internal/verityguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	program, err := os.ReadFile(init)
	require.NoError(t, err)
	modules, err := osimage.Modules(modulesDir, "virtio_pci", "virtio_blk", "dm-mod", "dm-verity")
	require.NoError(t, err)
	var archive bytes.Buffer
	a := osimage.NewArchive(&archive)
	a.Dir("dev")
	a.CharDevice("dev/console", 0o600, 5, 1)
	a.File("init", 0o755, program)
	order := ""
	for _, m := range modules {
		content, err := os.ReadFile(m.Path)
		require.NoError(t, err)
		a.File("lib/modules/"+m.Name+".ko", 0o644, content)
		order += m.Name + ".ko\n"
	}
	a.File("lib/modules/order", 0o644, []byte(order))
	require.NoError(t, a.Close())
	path := filepath.Join(dir, "initramfs")
	require.NoError(t, os.WriteFile(path, archive.Bytes(), 0o600))
	return path
}

// The kernel's own dm-verity takes the table, reads what was written, and refuses the block in which one bit changed.
func TestTheKernelReadsTheRunningSlotsRoot(t *testing.T) {
	parts, err := osimage.FindParts()
	require.NoError(t, err)
	archive := initramfs(t, parts.Modules)
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 80*mib))
	change := func(do func(disk partition.Device)) {
		disk, err := partition.Open(path, partition.OpenOptions{})
		require.NoError(t, err)
		do(disk)
		require.NoError(t, disk.Sync())
		require.NoError(t, disk.Close())
	}
	var hash verity.Hash
	change(func(disk partition.Device) {
		m := newMachine(t, disk)
		m.write(t, "A", "1", nil)
		hash = m.write(t, "B", "2", nil)
	})
	run := func(arguments string) string {
		m, err := vmtest.Start(context.Background(), vmtest.Config{BIOS: true, NoNetwork: true, NoReboot: true,
			Disks: []vmtest.Disk{{Path: path}}, Args: []string{"-kernel", parts.Kernel, "-initrd", archive, "-append",
				"console=ttyS0 quiet loglevel=0 panic=1 " + arguments}})
		require.NoError(t, err)
		defer m.Kill()
		_, err = m.Expect("verity: done", bootWithin)
		require.NoError(t, err)
		require.NoError(t, m.Wait(bootWithin))
		var said []string
		for _, line := range m.Lines() {
			_, text, ours := strings.Cut(strings.TrimRight(line.Text, "\r"), "verity: ")
			if ours { // perhaps behind what firmware left on the line
				said = append(said, "verity: "+text)
			}
		}
		return strings.Join(said, "\n")
	}
	reads := func(slot, version string) string {
		return fmt.Sprintf("verity: mapped slot %s as /dev/dm-0\nverity: read %d bytes %x\nverity: done", slot, rootSize,
			sha256.Sum256(content(version)))
	}
	require.Equal(t, reads("A", "1"), run("pawl.slot=A"))
	require.Equal(t, reads("B", "2"), run("pawl.verity.root="+hash.String()))
	require.Contains(t, run("pawl.slot=A pawl.verity.root="+hash.String()), rootfs.ErrWrong.Error())

	change(func(disk partition.Device) {
		r, err := rootfs.Find(disk, rootfs.Options{Slot: "B"})
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = disk.ReadAt(b, r.Offset+rootSize-1)
		require.NoError(t, err)
		_, err = disk.WriteAt([]byte{b[0] ^ 1}, r.Offset+rootSize-1)
		require.NoError(t, err)
	})
	require.Equal(t, reads("A", "1"), run("pawl.slot=A"))
	said := run("pawl.slot=B")
	require.Contains(t, said, "mapped slot B")
	require.Contains(t, said, "cannot read: read /dev/dm-0: input/output error")
}
