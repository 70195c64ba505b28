package partition_test

import (
	"fmt"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
)

// A new disk gets the default layout; later the disk grows, and the last partition with it.
func Example() {
	var disk partition.Device = disktest.New(4<<30, 512) // partition.Open on a real disk
	layout, err := partition.Plan(nil, disk.Size(), disk.SectorSize(), partition.Default(partition.Defaults{}))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := partition.Apply(disk, layout); err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range layout.Partitions {
		fmt.Println(p, layout.Bytes(p)>>20, "MiB")
	}

	disk = disk.(*disktest.Disk).Resized(6 << 30)
	layout, _ = partition.Read(disk)
	fmt.Println(layout.Problems)
	layout, _ = partition.Grow(layout, disk.Size())
	fmt.Println(partition.Apply(disk, layout))
	last, _ := layout.Find("EPHEMERAL")
	fmt.Println(last, layout.Bytes(last)>>20, "MiB")
	// Output:
	// partition 1 (EFI) 1024 MiB
	// partition 2 (BIOS) 1 MiB
	// partition 3 (META) 1 MiB
	// partition 4 (STATE) 100 MiB
	// partition 5 (EPHEMERAL) 2968 MiB
	// [the backup copy is in sector 8388607 and not in the last one, 12582911: the disk grew]
	// <nil>
	// partition 5 (EPHEMERAL) 5016 MiB
}
