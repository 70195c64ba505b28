//go:build vm

package rootfs_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
	"github.com/pawl-os/pawl/partition"
)

const bootWithin = 4 * time.Minute // machines are emulated

// The kernel's own dm-verity takes the table, reads what was written, and refuses the block in which one bit changed.
func TestTheKernelReadsTheRunningSlotsRoot(t *testing.T) {
	parts, err := osimage.FindParts()
	require.NoError(t, err)
	archive, err := oskit.Guest(t.Context(), t.TempDir(), "./internal/verityguest", parts.Modules, "virtio_pci", "virtio_blk",
		"dm-mod", "dm-verity")
	require.NoError(t, err)
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
