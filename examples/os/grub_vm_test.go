//go:build vm

package exampleos_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/partition"
)

// buildGRUB makes the same versions as kernels with initramfs.
var buildGRUB = sync.OnceValues(func() (*world, error) {
	w, err := build()
	if err != nil {
		return nil, err
	}
	return packed(w.Kit, "grub", w.System.AddForGRUB, osimage.CorruptUKI)
})

// long reports whether all is booted, as `make boots` does, and not the sample of `make test`.
func long() bool { return os.Getenv("PAWL_LONG") != "" }

// onGRUB runs a scenario on a machine that runs 1.0.0 from slot A: with a BIOS and with UEFI, or in the sample with
// one.
func onGRUB(t *testing.T, sample string, scenario func(*machine)) {
	on := []string{sample}
	if long() {
		on = []string{loaders.GRUBBIOS, loaders.GRUBUEFI}
	}
	for _, loader := range on {
		t.Run(loader, func(t *testing.T) {
			t.Parallel()
			w, err := buildGRUB()
			require.NoError(t, err)
			m := w.machine(t, loader)
			m.install("1.0.0")
			m.ready("1.0.0", "A")
			scenario(m)
		})
	}
}

func TestGRUBTrialMeetsALoss(t *testing.T) {
	t.Parallel()
	onGRUB(t, loaders.GRUBBIOS, func(m *machine) {
		// Its kernel is lost while the machine is off: the default boots at once, and says why.
		m.upgrade("2.0.0")
		m.cut(func() {
			m.onBootFS(func(boot *bootfs.FS) {
				require.NoError(m,
					boot.Remove(bootloader.B.File(bootloader.KernelFile)))
			})
		})
		m.ready("1.0.0", "A")
		require.Contains(m, m.status().Attempt.Reason, "GRUB did not find all files of slot B")

		// The block that GRUB writes is lost: nothing is armed, and the next upgrade mends it.
		m.upgrade("2.0.0")
		m.cut(func() {
			m.onBootFS(func(boot *bootfs.FS) {
				require.NoError(m, boot.Overwrite("grub/trial.env", []byte(strings.Repeat("lost", 128))))
			})
		})
		m.ready("1.0.0", "A")
		m.upgrade("2.0.0", "--tries 2")

		// Power fails during the trial, which is tried again.
		m.restart()
		m.trial("2.0.0", "B")
		m.cut(func() {})
		m.trial("2.0.0", "B")
		m.ready("2.0.0", "B")

		// One copy of the default is lost.
		for _, name := range []string{"grub/default.0.env", "grub/default.1.env"} {
			m.cut(func() {
				m.onBootFS(func(boot *bootfs.FS) { require.NoError(m, boot.Overwrite(name, make([]byte, 512))) })
			})
			m.ready("2.0.0", "B")
			m.do("run installer confirm") // mends it
		}
	})
}

// onBootFS changes the boot file system while the machine is off.
func (m *machine) onBootFS(change func(*bootfs.FS)) {
	m.Helper()
	d, err := partition.Open(m.config.Disks[0].Path, partition.OpenOptions{})
	require.NoError(m, err)
	p, err := d.Partition("EFI")
	require.NoError(m, err)
	boot, err := bootfs.Open(p, bootfs.Options{Zones: bootloader.Zones()})
	require.NoError(m, err)
	change(boot)
	require.NoError(m, p.Close())
	require.NoError(m, d.Close())
}
