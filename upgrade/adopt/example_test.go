package adopt_test

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade/adopt"
)

func ExampleLook() {
	dev := disktest.New(256*mib, 512) // as another system left it
	layout, err := partition.Plan(nil, dev.Size(), 512, []partition.Spec{
		{Label: "ESP", Type: partition.TypeESP, Size: 200 * mib, GUID: uuid.New()}})
	if err != nil {
		panic(err)
	}
	if err := partition.Apply(dev, layout); err != nil {
		panic(err)
	}
	if err := bootfs.Format(partition.Section(dev, layout.Partitions[0]), bootfs.FormatOptions{}); err != nil {
		panic(err)
	}

	plan, err := adopt.Look(dev, nil)
	fmt.Println(err, plan.System)
	for _, change := range plan.Needs {
		fmt.Println(change)
	}
	// Output:
	// <nil> a system that is not known
	// the EFI partition is labelled "ESP": --label EFI=ESP
	// the loader in EFI/BOOT, loader.conf and the entries of the slots are Pawl's
	// a partition META of 1 MiB, in free room of the disk
}
