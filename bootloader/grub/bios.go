package grub

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/partition/device"
)

// BIOS is what a machine without UEFI starts GRUB from. Sectors have 512 bytes.
type BIOS struct {
	Boot    []byte // boot.img of GRUB's i386-pc: 512 bytes
	Core    []byte // core image of i386-pc, made with Prefix, Modules and BIOSModules
	First   int64  // first sector of the BIOS boot partition
	Sectors int64  // its length
	Active  bool   // set the active flag of the protective MBR, which some BIOSes ask for and UEFI forbids
}

// Where boot.img and the first sector of a core image hold what an installer fills in (GRUB 2.06, boot/i386/pc/boot.S
// and diskboot.S).
const (
	sector   = 512
	codeSize = 440  // of boot.img; behind it the disk's signature and the partition table
	bootCore = 0x5c // u64: first sector of the core image
	// two bytes: a jump over a fix for BIOSes that pass a wrong drive number, or two nops to have it
	bootDriveCheck = 0x66
	coreNext       = 500 // u64: first sector of the rest of the core image
	coreLength     = 508 // u16: its length in sectors
	coreSegment    = 510 // u16: where it is loaded to, divided by 16
	loadSegment    = 0x820
	firstStatus    = 446 // status byte of the protective MBR's first partition
	statusActive   = 0x80
)

// InstallBIOS makes a disk start GRUB on BIOS. The partition table and the disk's signature stay as they are; the same
// disk may be started by UEFI too.
//
//  1. the core image into the BIOS boot partition; flush. A cut: what started before, if anything; a core image that is
//     replaced does not start.
//  2. the first 440 bytes of the disk, and the active flag: one sector; flush. A cut: nothing starts, or GRUB.
func InstallBIOS(disk device.Device, b BIOS) error {
	if err := installBIOS(disk, b); err != nil {
		return fmt.Errorf("install GRUB for BIOS: %w", err)
	}
	return nil
}

func installBIOS(disk device.Device, b BIOS) error {
	le := binary.LittleEndian
	sectors := (int64(len(b.Core)) + sector - 1) / sector
	switch {
	case disk.SectorSize() != sector:
		return fmt.Errorf("the disk has sectors of %d bytes, and BIOS boots from disks of %d only", disk.SectorSize(),
			sector)
	case len(b.Boot) != sector || le.Uint16(b.Boot[510:]) != 0xaa55 || b.Boot[0] != 0xeb:
		return errors.New("boot.img is not GRUB's: want 512 bytes of boot code")
	case checkCore(b.Core) != nil:
		return checkCore(b.Core)
	case b.First < 34 || sectors > b.Sectors:
		return fmt.Errorf("the core image of %d sectors does not fit the BIOS boot partition of %d", sectors, b.Sectors)
	}
	core := make([]byte, sectors*sector)
	copy(core, b.Core)
	fill(core, b.First)
	if err := write(disk, core, b.First*sector); err != nil {
		return fmt.Errorf("core image: %w", err)
	}

	first := make([]byte, sector)
	if _, err := disk.ReadAt(first, 0); err != nil {
		return fmt.Errorf("read sector 0: %w", err)
	}
	if le.Uint16(first[510:]) != 0xaa55 || first[firstStatus+4] != 0xee {
		return errors.New("sector 0 holds no protective MBR: partition the disk first")
	}
	copy(first[:codeSize], b.Boot)
	le.PutUint64(first[bootCore:], uint64(b.First))
	first[bootDriveCheck], first[bootDriveCheck+1] = 0x90, 0x90
	first[firstStatus] = 0
	if b.Active {
		first[firstStatus] = statusActive
	}
	if err := write(disk, first, 0); err != nil {
		return fmt.Errorf("boot code: %w", err)
	}
	return nil
}

// write writes unless the bytes are there already, and flushes.
func write(disk device.Device, data []byte, off int64) error {
	old := make([]byte, len(data))
	if _, err := disk.ReadAt(old, off); err != nil || string(old) != string(data) {
		if _, err := disk.WriteAt(data, off); err != nil {
			return err
		}
	}
	return disk.Sync()
}
