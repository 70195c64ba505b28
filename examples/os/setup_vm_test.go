//go:build vm

package exampleos_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// An ISO installs an empty disk, and that disk boots: unattended by the configuration on it, and, with `make boots`, on
// the console by four questions, with each loader.
func TestAnISOInstallsADiskThatBoots(t *testing.T) {
	on := []string{loaders.SystemdBoot}
	if long() {
		on = append(on, loaders.GRUBUEFI, loaders.GRUBBIOS)
	}
	for _, loader := range on {
		t.Run(loader, func(t *testing.T) {
			t.Parallel()
			w, err := build()
			if loader != loaders.SystemdBoot {
				w, err = buildGRUB()
			}
			require.NoError(t, err)
			w.installs(t, loader, "disk-bus: virtio\n", nil)
			if long() {
				w.installs(t, loader, "", []string{"1", "", "", "/dev/vda"})
			}
		})
	}
}

// installs makes an ISO with a configuration, answers its questions, and starts what it has installed.
func (w *world) installs(t *testing.T, loader, config string, answers []string) {
	m := w.machine(t, loader)
	dir := t.TempDir()
	add := w.System.Add
	if loader != loaders.SystemdBoot {
		add = w.System.AddForGRUB
	}
	live, err := w.Pack(t.Context(), filepath.Base(dir)+"-live-"+loader, add,
		osimage.Version{Number: "1.0.0", Arguments: "pawl-os.setup"})
	require.NoError(t, err)
	what, err := w.Pack(t.Context(), filepath.Base(dir)+"-what-"+loader, add, osimage.Version{Number: "1.0.0"})
	require.NoError(t, err)
	archive, yaml, iso := filepath.Join(dir, "image.tar"), filepath.Join(dir, "install.yaml"), filepath.Join(dir, "os.iso")
	tool(t, "tar", "-C", filepath.Join(w.Dir, what.Repository), "-cf", archive, ".")
	require.NoError(t, os.WriteFile(yaml, []byte(config), 0o600))
	out, err := exec.Command(m.Installer, "image", "--image", live.Local("1.0.0"), "--output", iso, "--loader", loader,
		"--partition", "label=EFI,size=512MiB", "--size", "700MiB", "--file", "pawl/image.tar="+archive,
		"--file", "pawl/install.yaml="+yaml).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)

	disk := filepath.Join(dir, "disk.raw")
	tool(t, "truncate", "-s", "2G", disk)
	m.config.Disks = []vmtest.Disk{{Path: disk}}
	m.config.Args = []string{"-drive", "if=none,id=iso,format=raw,readonly=on,file=" + iso, "-device", "virtio-scsi-pci",
		"-device", "scsi-cd,drive=iso,bootindex=0"}
	m.start()
	for n, answer := range answers {
		_, err := m.vm.Expect(`[1-4] of 4: `, within)
		require.NoErrorf(t, err, "question %d", n+1)
		require.NoError(t, m.vm.Send(answer))
	}
	e, err := m.vm.Event(within, "setup")
	require.NoError(t, err)
	require.Equal(t, "0", e.Values["code"])
	require.NoError(t, m.vm.Kill())

	m.config.Args = nil
	m.start()
	m.ready("1.0.0", "A")
	require.NoError(t, m.vm.Kill())
}
