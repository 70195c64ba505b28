package grub_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/grub"
)

// An upgrade as GRUB sees it, with two tries. The machine is a model that runs the grub.cfg on the disk.
func Example() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	machine, err := bios.Installed() // runs version 1 from slot A
	check(err)
	loader, err := grub.New(grub.Config{FS: machine.FS, Partition: machine.Partition, Cmdline: machine.Cmdline})
	check(err)

	check(loader.Disarm())
	check(loader.Withdraw(bootloader.B))                           // from here on B does not boot,
	manifest, err := machine.Fill(machine.FS, bootloader.B, "2.0") // so its files can be replaced,
	check(err)
	check(loader.Prepare(bootloader.B, manifest, 2)) // and when they are complete, GRUB is told,
	check(loader.Arm(bootloader.B, 2))               // and two boots are ordered

	for range 3 {
		boot, err := machine.Boot()
		check(err)
		fmt.Println(boot.Slot, boot.Trial)
	}
	// Output:
	// B true
	// B true
	// A false
}
