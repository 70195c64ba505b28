package sdboot_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

func open(m *loadertest.Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
	return sdboot.New(sdboot.Config{FS: f, Vars: vars, Partition: m.Partition, Cmdline: m.Cmdline})
}

func install(_ *loadertest.Machine, f *bootfs.FS) error {
	return sdboot.Install(f, loadertest.Loader("amd64"))
}

var backend = loadertest.Backend{Install: install, Open: open, Tries: sdboot.MaxTries}

var kernels = loadertest.Backend{Install: install, Open: open, Tries: sdboot.MaxTries, Separate: true}

func TestConformance(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, backend)
}

func openDirect(m *loadertest.Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
	return sdboot.New(sdboot.Config{FS: f, Vars: vars, Partition: m.Partition, Cmdline: m.Cmdline, Trial: sdboot.BootNext})
}

var direct = loadertest.Backend{Install: install, Open: openDirect, Tries: sdboot.MaxTries}

func TestConformanceOfBootNext(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, direct)
}

func openCounting(m *loadertest.Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
	return sdboot.New(sdboot.Config{FS: f, Vars: vars, Partition: m.Partition, Cmdline: m.Cmdline, Trial: sdboot.Counting})
}

var counting = loadertest.Backend{Install: install, Open: openCounting, Tries: sdboot.MaxTries, NotIsolated: true}

func TestConformanceOfCounting(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, counting)
	t.Run("kernels", func(t *testing.T) {
		b := counting
		b.Separate = true
		loadertest.Conformance(t, b)
	})
}

func TestConformanceOfKernels(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, kernels)
}
