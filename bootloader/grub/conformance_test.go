package grub_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
)

var uefi = loadertest.Subject{
	Backend:  grub.Backend{},
	Files:    map[string][]byte{"grub.efi": loadertest.GRUBEFI()},
	Separate: true,
}

var bios = loadertest.Subject{
	Backend:  grub.Backend{BIOS: true},
	Files:    core(),
	Options:  predict.Options{BIOS: true},
	Separate: true,
}

func core() map[string][]byte {
	boot, core := loadertest.GRUBCore()
	return map[string][]byte{"grub-boot.img": boot, "grub-core.img": core}
}

func TestConformanceUEFI(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, uefi)
}

func TestConformanceBIOS(t *testing.T) {
	t.Parallel()
	loadertest.Conformance(t, bios)
}
