//go:build tools

package main

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
)

// The same image and SOURCE_DATE_EPOCH make the same file in each format, under another user, umask, time zone, folder
// and number of processors.
func TestTheSameImageIsMadeEverywhere(t *testing.T) {
	f := newFactory(t)
	self, err := os.Executable()
	require.NoError(t, err)
	ref := f.reference("2.0.0", virtual.Spec{Size: 3 << 20})
	dir := scratch(t) // where others may come
	require.NoError(t, os.Chmod(dir, 0o777))
	installer, images := filepath.Join(dir, "installer"), filepath.Join(dir, "images")
	tool(t, "cp", self, installer)
	tool(t, "cp", "-r", f.dir, images)
	state := filepath.Join(dir, "state")
	require.NoError(t, os.MkdirAll(filepath.Join(state, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(state, "etc/hostname"), []byte("node-1\n"), 0o644))
	tool(t, "chmod", "-R", "a+rX", dir)
	ref = "oci:" + images + ref[len("oci:")+len(f.dir):]
	makeOne := func(folder, name, format, umask string, others bool, env ...string) [32]byte {
		folder = filepath.Join(dir, folder)
		require.NoError(t, os.MkdirAll(folder, 0o755))
		require.NoError(t, os.Chmod(folder, 0o777))
		c := exec.Command("sh", "-c", "umask "+umask+`; exec "$@"`, "sh", installer,
			"image", "--image", ref, "--arch", "amd64", "--output", name, "--output-format", format, "--size", "2GiB",
			"--meta", "10=text", "--file", "etc/name="+filepath.Join(state, "etc/hostname"),
			"--partition", "label=STATE,content="+state, "--partition", "label=DATA,size=64MiB,fs=ext4,content="+state)
		c.Dir, c.Env = folder, append(append(os.Environ(), asInstaller+"=1", "SOURCE_DATE_EPOCH=1700000001"), env...)
		if others && os.Getuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		path := filepath.Join(folder, name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))
		return sha256.Sum256(data)
	}
	for _, format := range []string{"qcow2", "vhd-dynamic", "vhdx", "vmdk", "ova", "gcp", "raw.zst", "raw.gz",
		"vhd.zst", "iso.zst"} {
		t.Run(format, func(t *testing.T) {
			one := makeOne("a", "disk", format, "022", false, "TZ=UTC", "GOMAXPROCS=1")
			two := makeOne("b/c d", "disk", format, "077", true, "TZ=Asia/Kathmandu", "GOMAXPROCS=4",
				"HOME=/nonexistent")
			require.Equal(t, one, two)
		})
	}
}

// What QEMU's tools read from each format is the raw image of the same inputs, for each loader and both sizes of
// sectors; sgdisk finds nothing wrong with its table, and fsck.vfat and e2fsck with what is in its partitions.
func TestForeignToolsReadDiskImages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	f := newFactory(t)
	grub := f.reference("1.0.0", virtual.Spec{GRUB: true})
	called := map[string]string{"qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk"}
	for name, c := range map[string]struct {
		image   string
		flags   []string
		endings []string
	}{
		"systemd-boot":         {f.one, nil, []string{"qcow2", "vhd", "vhdx", "vmdk"}},
		"systemd-boot on 4096": {f.one, []string{"--sector-size", "4096"}, []string{"qcow2"}},
		"grub-bios":            {grub, []string{"--loader", "grub-bios"}, []string{"qcow2", "vmdk"}},
		"grub-uefi":            {grub, []string{"--loader", "grub-uefi"}, []string{"qcow2", "vhdx"}},
		"grub":                 {grub, []string{"--loader", "grub"}, []string{"qcow2"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			build := func(name string) string {
				path := filepath.Join(dir, name)
				args := []string{"image", "--image", c.image, "--arch", "amd64", "--output", path, "--size", "1GiB",
					"--partition", "label=EFI,size=300MiB", "--partition", "label=STATE,fs=ext4"}
				status, out := run(t, append(args, c.flags...)...)
				require.Zero(t, status, out)
				return path
			}
			raw := build("disk.raw")
			if name != "systemd-boot on 4096" { // sgdisk takes a file for a disk of 512
				require.Contains(t, tool(t, "sgdisk", "-v", raw), "No problems found")
				tool(t, "fsck.vfat", "-n", taken(t, raw, "EFI"))
				tool(t, "e2fsck", "-fn", taken(t, raw, "STATE"))
			}
			for _, ending := range c.endings {
				format, path := called[ending], build("disk."+ending)
				require.Contains(t, tool(t, "qemu-img", "compare", "-f", "raw", "-F", format, raw, path),
					"Images are identical")
				back := filepath.Join(dir, "back")
				tool(t, "qemu-img", "convert", "-f", format, "-O", "raw", path, back)
				tool(t, "cmp", raw, back)
			}
		})
	}
}

// taken is a partition of a raw disk with sectors of 512, in a file.
func taken(t *testing.T, raw, label string) string {
	t.Helper()
	d, err := disk.Options{ReadOnly: true}.Open(raw)
	require.NoError(t, err)
	defer d.Close()
	l, err := partition.Read(d)
	require.NoError(t, err)
	p, err := l.Find(label)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), label)
	made, err := disk.Create(path, l.Bytes(p))
	require.NoError(t, err)
	defer made.Close()
	require.NoError(t, disk.Copy(t.Context(), made, partition.Section(d, p), nil))
	return path
}

// tool runs a foreign program that has to find nothing wrong.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}
