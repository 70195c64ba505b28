package grub_test

import (
	"errors"
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
)

func open(m *loadertest.Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
	return grub.New(grub.Config{FS: f, Vars: vars, Partition: m.Partition, Cmdline: m.Cmdline})
}

var uefi = loadertest.Backend{
	Install:  func(_ *loadertest.Machine, f *bootfs.FS) error { return grub.Install(f, loadertest.GRUBEFI()) },
	Open:     open,
	Separate: true,
	Tries:    grub.MaxTries,
}

var bios = loadertest.Backend{
	Install: func(m *loadertest.Machine, f *bootfs.FS) error {
		boot, core := loadertest.GRUBCore()
		return errors.Join(grub.Install(f, nil), grub.InstallBIOS(m.Disk, grub.BIOS{
			Boot: boot, Core: core, First: int64(m.BIOS.First), Sectors: int64(m.BIOS.Sectors),
		}))
	},
	Open:     open,
	Options:  predict.Options{BIOS: true},
	Separate: true,
	Tries:    grub.MaxTries,
}

func TestConformanceUEFI(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, uefi)
}

func TestConformanceBIOS(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, bios)
}
