package vmtest

import "fmt"

// Bus is how a disk is attached.
type Bus string

// Buses.
const (
	Virtio Bus = "virtio"
	SCSI   Bus = "virtio-scsi"
	NVMe   Bus = "nvme"
	AHCI   Bus = "ahci"
	IDE    Bus = "ide" // of a machine that is Old, which has it on board
	USB    Bus = "usb"
)

// devices are QEMU's devices for disk i, whose controller has a place on the PCI bus. The last one is the disk.
func (b Bus) devices(i, pci int) []string {
	at := fmt.Sprintf("bus%d,addr=%#x", i, pci)
	drive := fmt.Sprintf("drive=disk%d", i)
	switch b {
	case SCSI:
		return []string{"virtio-scsi-pci,disable-legacy=on,id=" + at, fmt.Sprintf("scsi-hd,bus=bus%d.0,%s", i, drive)}
	case NVMe:
		return []string{fmt.Sprintf("nvme,serial=pawl%d,addr=%#x,%s", i, pci, drive)}
	case AHCI:
		return []string{"ich9-ahci,id=" + at, fmt.Sprintf("ide-hd,bus=bus%d.0,%s", i, drive)}
	case IDE:
		return []string{fmt.Sprintf("ide-hd,bus=ide.%d,%s", i, drive)}
	case USB:
		return []string{"qemu-xhci,id=" + at, fmt.Sprintf("usb-storage,bus=bus%d.0,%s", i, drive)}
	default:
		return []string{fmt.Sprintf("virtio-blk-pci,%s,addr=%#x,disable-legacy=on", drive, pci)}
	}
}
