package doctor_test

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

func ExampleDiagnoseDevice() {
	empty := disktest.New(64<<20, 512)
	d, err := doctor.DiagnoseDevice(context.Background(), empty, upgrade.OpenOptions{
		Loaders: loaders.All(), Vars: efivar.NewMemory(), Cmdline: new(string), BootID: "1", Version: "1.0.0",
	})
	if err != nil {
		panic(err)
	}
	for i, b := range d.Boots {
		fmt.Printf("boot %d: %s\n", i+1, b.Stuck)
	}
	fmt.Println(d.Severity())
	// Output:
	// boot 1: the firmware ends in its shell
	// boot 2: the firmware ends in its shell
	// boot 3: the firmware ends in its shell
	// broken
}
