//go:build long

package grub_test

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
)

// A disk that UEFI and a BIOS alike start is held to the same by each. The proof has it too, with fewer operations, and
// both firmwares for each disk that a cut leaves.
func TestConformanceBoth(t *testing.T) {
	files := core()
	files["grub.efi"] = loadertest.GRUBEFI()
	for name, o := range map[string]predict.Options{"UEFI": {}, "BIOS": {BIOS: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loadertest.Conformance(t, loadertest.Subject{Backend: grub.Backend{Both: true}, Files: files, Options: o,
				Separate: true})
		})
	}
}
