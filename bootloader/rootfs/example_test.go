package rootfs_test

import (
	"context"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/partition"
)

// An initramfs finds the root image of the slot that runs, and has the kernel check each block of it as it is read.
func Example() {
	err := func() error {
		arguments, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return err
		}
		disk, err := partition.Open("/dev/vda", partition.OpenOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer disk.Close()
		root, err := rootfs.Find(disk, rootfs.Options{Cmdline: string(arguments)})
		if err != nil {
			return err
		}
		if root.Tree == nil {
			return root.Check(context.Background(), disk) // nothing checks it afterwards
		}
		target, err := root.Target(rootfs.Node("/dev/vda", root.Partition.Number))
		if err != nil {
			return err
		}
		device, err := rootfs.Map("root", "", target)
		if err != nil {
			return err
		}
		fmt.Println("mount", device, "read-only on /sysroot")
		return nil
	}()
	if err != nil {
		fmt.Println(err)
	}
}
