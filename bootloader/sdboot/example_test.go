package sdboot_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// An upgrade as the loader sees it: it learns of the target, tries it once, and has it as the default. The machine is a
// model.
func Example() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	machine, err := backend.Installed() // runs version 1 from slot A
	must(err)
	loader, err := sdboot.New(sdboot.Config{FS: machine.FS, Vars: machine.Vars, Partition: machine.Partition})
	must(err)

	must(loader.Disarm())
	must(loader.Withdraw(bootloader.B))                               // from here on B does not boot,
	manifest, err := loadertest.Fill(machine.FS, bootloader.B, "2.0") // so its files can be replaced,
	must(err)
	must(loader.Prepare(bootloader.B, manifest, 1)) // and when they are complete, the loader is told,
	must(loader.Arm(bootloader.B, 1))               // and one boot is ordered

	trial, err := machine.Boot()
	must(err)
	fmt.Println("trial:", trial.Slot, trial.Trial)
	must(loader.Confirm(bootloader.B)) // the new version is content; without this the next boot is A
	next, err := machine.Boot()
	must(err)
	fmt.Println("then:", next.Slot, next.Trial)
	// Output:
	// trial: B true
	// then: B false
}
