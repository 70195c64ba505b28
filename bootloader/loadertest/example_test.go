package loadertest_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// A machine whose firmware starts a kernel without a loader, before and after the kernel is removed.
func ExampleMachine() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	m, err := loadertest.NewMachine(512)
	must(err)
	fs, err := m.FS()
	must(err)
	must(fs.Mkdir("EFI/BOOT"))
	must(fs.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.Kernel("amd64", []byte("a kernel"))))
	before := m.Clone()
	must(fs.Remove("EFI/BOOT/BOOTX64.EFI"))

	for _, m := range []*loadertest.Machine{before, m} {
		outcome, err := m.Boot()
		must(err)
		fmt.Printf("%q %q\n", outcome.Path, outcome.Stuck)
	}
	// Output:
	// "EFI/BOOT/BOOTX64.EFI" ""
	// "" "the firmware ends in its shell"
}
