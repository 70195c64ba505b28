// Command verityguest is PID 1 of a test machine: it finds the root image of the slot that its command line names, has
// dm-verity check it, reads all of it, prints what it read, and switches the machine off. The tests of package rootfs
// read what it prints.
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/internal/harness/guest"
	"github.com/pawl-os/pawl/partition"
)

const disk = "/dev/vda"

func main() {
	if err := run(); err != nil {
		fmt.Println("verity: failed:", err)
	}
	fmt.Println("verity: done")
	guest.End()
}

func run() error {
	if err := guest.Begin(); err != nil {
		return err
	}
	return root()
}

// root goes the way of an initramfs, up to where it would mount the device.
func root() (err error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	r, err := rootfs.Find(d, rootfs.Options{Cmdline: string(line)})
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	target, err := r.Target(rootfs.Node(disk, r.Partition.Number))
	if err != nil {
		return err
	}
	wrong := rootfs.Target{Sectors: target.Sectors, Type: "verity", Params: "1 x"}
	if _, err := rootfs.Map("root", "", wrong); err == nil { // and nothing is left of it
		return errors.New("a table that is none was mapped")
	}
	node, err := rootfs.Map("root", "PAWL-"+string(r.Slot), target)
	if err != nil {
		return err
	}
	fmt.Println("verity: mapped slot", r.Slot, "as", node)
	if err := read(node); err != nil {
		fmt.Println("verity: cannot read:", err)
	}
	return rootfs.Unmap("root")
}

// read prints the digest of the device, once it has found that the device cannot be written.
func read(node string) error {
	f, err := os.OpenFile(node, os.O_RDWR, 0) // the kernel refuses the write, not the opening
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 4096), 0); err == nil {
		return errors.New("it can be written")
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	fmt.Printf("verity: read %d bytes %x\n", n, h.Sum(nil))
	return nil
}
