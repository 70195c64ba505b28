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

// An ISO starts the version in it from a CD, from a stick and as a disk, by each loader; beside an empty disk, as where
// something is to be installed. As a disk all is found that the system needs; from the others it comes up, and says that
// it does not find its disk, for it has no drivers for them.
func TestAnISOStartsFromACDAndFromAStick(t *testing.T) {
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBUEFI, loaders.GRUBBIOS} {
		t.Run(loader, func(t *testing.T) {
			t.Parallel()
			w, err := build()
			if loader != loaders.SystemdBoot {
				w, err = buildGRUB()
			}
			require.NoError(t, err)
			m := w.machine(t, loader)
			iso, empty := filepath.Join(t.TempDir(), "os.iso"), filepath.Join(t.TempDir(), "empty")
			out, err := exec.Command(m.Installer, "image", "--image", m.Local("1.0.0"), "--output", iso, "--loader", loader,
				"--partition", "label=EFI,size=512MiB", "--size", "700MiB").CombinedOutput()
			require.NoErrorf(t, err, "%s", out)
			tool(t, "truncate", "-s", "64M", empty)
			for name, devices := range map[string][]string{
				"CD":    {"-device", "ahci,id=sata", "-device", "ide-cd,bus=sata.0,drive=iso"},
				"stick": {"-device", "qemu-xhci", "-device", "usb-storage,drive=iso"},
			} {
				t.Run(name, func(t *testing.T) {
					if loader == loaders.GRUBBIOS {
						devices[len(devices)-1] += ",bootindex=0"
					}
					one := w.machine(t, loader)
					one.config.Disks = []vmtest.Disk{{Path: empty}}
					drive := "if=none,id=iso,format=raw,file=" + iso + map[string]string{
						"CD": ",readonly=on", "stick": ",snapshot=on"}[name]
					one.config.Args = append([]string{"-drive", drive}, devices...)
					one.start()
					_, err := one.vm.Expect(`^pawl-os: `, 2*within)
					require.NoError(t, err)
					require.NoError(t, one.vm.Kill())
				})
			}
			m.config.Disks = []vmtest.Disk{{Path: iso}}
			m.start()
			m.ready("1.0.0", "A")
		})
	}
}
