//go:build tools

package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack/grubcore"
	"github.com/pawl-os/pawl/partition"
)

// One image that is packed with --grub boots by each loader. GRUB is the real one, which the model takes by its
// outside.
func TestPackedForGRUBBootsByEachLoader(t *testing.T) {
	dir, flags := parts(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), loadertest.LinuxImage([]byte("a kernel")), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "initramfs.xz"), []byte("070701 an initramfs"), 0o600))
	status, out := run(t, append(flags, "--grub", "--output", filepath.Join(dir, "layout"))...)
	require.Zero(t, status, out)
	ref := strings.TrimSpace(out)
	for loader, path := range map[string]string{
		"systemd-boot": bootloader.A.File(bootloader.UKIFile), "grub-bios": bootloader.A.File(bootloader.KernelFile),
		"grub-uefi": bootloader.A.File(bootloader.KernelFile),
	} {
		t.Run(loader, func(t *testing.T) {
			raw := filepath.Join(t.TempDir(), "disk.raw")
			status, out := run(t, "image", "--image", ref, "--arch", "amd64", "--loader", loader, "--output", raw,
				"--size", "2GiB")
			require.Zero(t, status, out)
			d, err := disk.Open(raw)
			require.NoError(t, err)
			defer d.Close()
			if loader == "grub-bios" {
				bootCode(t, d)
			}
			o, err := predict.Boot(d, efivar.NewMemory(), predict.Options{BIOS: loader == "grub-bios"})
			require.NoError(t, err)
			require.Equal(t, path, o.Path, "%s", o)
		})
	}
	raw := filepath.Join(t.TempDir(), "disk.raw")
	status, out = run(t, "image", "--image", ref, "--arch", "amd64", "--loader", "grub-bios", "--active", "--output",
		raw, "--size", "2GiB")
	require.Zero(t, status, out)
	sector := make([]byte, 512)
	d, err := disk.Open(raw)
	require.NoError(t, err)
	defer d.Close()
	_, err = d.ReadAt(sector, 0)
	require.NoError(t, err)
	require.Equal(t, byte(0x80), sector[446], "the active flag")
	status, out = run(t, "image", "--image", ref, "--active", "--output", filepath.Join(dir, "disk.raw"))
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, "--active: it is for grub-bios")
	status, out = run(t, "image", "--image", ref, "--loader", "lilo", "--output", filepath.Join(dir, "disk.raw"))
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, "want systemd-boot, grub-bios, grub-uefi or grub")
}

// bootCode checks what is outside of the file systems against what grub-mkimage makes.
func bootCode(t *testing.T, d *disk.Raw) {
	t.Helper()
	real, err := grubcore.Make(t.Context(), "amd64", grubcore.Dir)
	require.NoError(t, err)
	layout, err := partition.Read(d)
	require.NoError(t, err)
	p, err := layout.Find("BIOS")
	require.NoError(t, err)
	first, core := make([]byte, 512), make([]byte, len(real.Core))
	_, err = d.ReadAt(first, 0)
	require.NoError(t, err)
	_, err = d.ReadAt(core, p.First*512)
	require.NoError(t, err)
	le := binary.LittleEndian
	require.Equal(t, uint64(p.First), le.Uint64(first[0x5c:]))
	require.Equal(t, uint64(p.First+1), le.Uint64(core[500:]))
	require.Equal(t, uint16((len(core)+511)/512-1), le.Uint16(core[508:]))
	copy(first[0x5c:0x64], real.Boot[0x5c:])
	copy(first[0x66:0x68], real.Boot[0x66:])
	copy(core[500:512], real.Core[500:])
	require.Equal(t, real.Boot[:440], first[:440], "but for what an installer fills in, it is GRUB's own")
	require.Equal(t, real.Core, core)
}
