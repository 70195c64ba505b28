//go:build vm && long

package exampleos_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// One disk image is started by OVMF and by SeaBIOS. It is upgraded under the one, moved while it is armed, and is on
// trial and confirmed under the other.
func TestOneDiskIsStartedByABIOSAndByUEFI(t *testing.T) {
	w, err := buildGRUB()
	require.NoError(t, err)
	m := w.machine(t, loaders.GRUB)
	m.install("1.0.0")
	m.ready("1.0.0", "A")
	m.upgrade("2.0.0")
	require.NoError(t, m.vm.Kill())
	m.config.BIOS = true
	m.start()
	m.trial("2.0.0", "B")
	m.ready("2.0.0", "B")
	require.Contains(t, m.do("run installer doctor"), "UEFI starts the same of this disk")
}

// One ISO starts as a CD by SeaBIOS and by OVMF, and as a stick.
func TestOneISOIsStartedByABIOSAndByUEFI(t *testing.T) {
	w, err := buildGRUB()
	require.NoError(t, err)
	m := w.machine(t, loaders.GRUB)
	iso, empty := filepath.Join(t.TempDir(), "os.iso"), filepath.Join(t.TempDir(), "empty")
	out, err := exec.Command(m.Installer, "image", "--image", m.Local("1.0.0"), "--output", iso, "--loader", loaders.GRUB,
		"--partition", "label=EFI,size=512MiB", "--size", "700MiB").CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	tool(t, "truncate", "-s", "64M", empty)
	for _, bios := range []bool{true, false} {
		for name, devices := range map[string][]string{
			"CD":    {"-device", "ahci,id=sata", "-device", "ide-cd,bus=sata.0,drive=iso"},
			"stick": {"-device", "qemu-xhci", "-device", "usb-storage,drive=iso"},
		} {
			one := w.machine(t, loaders.GRUB)
			one.config.BIOS = bios
			if bios {
				devices[len(devices)-1] += ",bootindex=0"
			}
			one.config.Disks = []vmtest.Disk{{Path: empty}}
			drive := "if=none,id=iso,format=raw,file=" + iso + map[string]string{
				"CD": ",readonly=on", "stick": ",snapshot=on"}[name]
			one.config.Args = append([]string{"-drive", drive}, devices...)
			one.start()
			_, err := one.vm.Expect(`^pawl-os: `, 2*within)
			require.NoErrorf(t, err, "%s, BIOS: %t", name, bios)
			require.NoError(t, one.vm.Kill())
		}
	}
}
