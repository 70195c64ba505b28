package bootloader_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// What an upgrade asks before anything else: which slot may be written.
func ExampleState() {
	s := bootloader.State{Active: bootloader.A, Default: bootloader.A}
	fmt.Println("trial:", s.Trial())
	fmt.Println("target:", s.Active.Other().Dir())
	// Output:
	// trial: false
	// target: EFI/pawl/B
}
