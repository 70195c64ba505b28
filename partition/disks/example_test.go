package disks_test

import (
	"fmt"

	"github.com/pawl-os/pawl/partition/disks"
)

func ExampleWant_Choose() {
	machine := []disks.Disk{
		{Path: "/dev/nvme0n1", Bytes: 512 << 30, Bus: "nvme", Model: "Fast"},
		{Path: "/dev/sda", Bytes: 16 << 30, Bus: "usb", Removable: true},
	}
	d, err := disks.Want{Bus: "nvme"}.Choose(machine)
	fmt.Println(d.Path, err)
	_, err = disks.Want{Least: 1 << 40}.Choose(machine)
	fmt.Println(err)
	// Output:
	// /dev/nvme0n1 <nil>
	// no disk fits, of these
	//   /dev/nvme0n1, 512 GiB, nvme, model "Fast": it has less than 1 TiB
	//   /dev/sda, 16 GiB, usb, removable: it has less than 1 TiB
}
