//go:build vm

package exampleos_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/siderolabs/go-adv/adv/talos"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

const mib = 1 << 20

// TestDiskImageOfAnOrdinaryUser has the installer build a disk image without any privilege, foreign tools look for
// faults in it, and firmware boot it.
func TestDiskImageOfAnOrdinaryUser(t *testing.T) {
	m := prepare(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	c := exec.Command(m.Installer, "image", "--image", m.Local("1.0.0"), "--output", disk)
	if os.Getuid() == 0 { // be somebody who may do nothing
		require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
		require.NoError(t, os.Chmod(dir, 0o777))
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := c.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)

	require.Contains(t, tool(t, "sgdisk", "-v", disk), "No problems found")
	boot := filepath.Join(dir, "boot.img")
	tool(t, "dd", "if="+disk, "of="+boot, "bs=1M", "skip=1", "count=1024", "conv=sparse", "status=none")
	tool(t, "fsck.vfat", "-n", boot)
	listing := tool(t, "mdir", "-i", boot, "-/", "-b", "::")
	for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/pawl/A/os.efi", "EFI/pawl/A/manifest.json",
		"loader/loader.conf", "loader/entries/pawl-a.conf"} {
		require.Contains(t, listing, "::/"+name)
	}
	held, err := bootloader.DecodeManifest([]byte(tool(t, "mtype", "-i", boot, "::EFI/pawl/A/manifest.json")))
	require.NoError(t, err)
	require.Equal(t, m.Digests["1.0.0"], held.Image)

	f, err := os.Open(disk)
	require.NoError(t, err)
	defer f.Close()
	const meta = 1 + 1024 + 1 // MiB: behind the boot file system and the BIOS partition
	copies := make([]byte, mib)
	_, err = io.ReadFull(io.NewSectionReader(f, meta*mib, mib), copies)
	require.NoError(t, err)
	_, err = talos.NewADV(bytes.NewReader(copies))
	require.NoError(t, err, "META as go-adv reads it")

	m.config.Disks = []vmtest.Disk{{Path: disk}}
	m.start()
	m.ready("1.0.0", "A")
}

// tool runs a foreign program that has to find nothing wrong.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoErrorf(t, err, "%s %v: %s", name, args, out)
	return string(out)
}
