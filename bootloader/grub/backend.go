package grub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image/format"
)

// Names of [Backend].
const (
	NameUEFI = "grub-uefi"
	NameBIOS = "grub-bios"
	NameBoth = "grub"
)

// Backend is GRUB, on UEFI, on BIOS or on both. A slot is a kernel and an initramfs, with its arguments.
type Backend struct {
	BIOS bool // started by a BIOS, from the disk's first sector
	Both bool // started by UEFI and by a BIOS alike: the disk may go from one machine to the other. BIOS is not looked at
	// with BIOS, for Install: set the active flag of the protective MBR, which some BIOSes ask for and UEFI forbids
	Active bool
}

var (
	_ bootloader.KernelChecker = Backend{}
	_ bootloader.SelfWriter    = Backend{}
)

// Name implements [bootloader.Backend].
func (b Backend) Name() string {
	switch {
	case b.Both:
		return NameBoth
	case b.BIOS:
		return NameBIOS
	}
	return NameUEFI
}

// byBIOS reports whether a BIOS is to start it, alone or too.
func (b Backend) byBIOS() bool { return b.BIOS || b.Both }

// Probe implements [bootloader.Backend].
func (b Backend) Probe(boot *bootfs.FS) (bool, error) {
	_, err := boot.Stat(configPath)
	if missing(err) {
		return false, nil
	}
	return err == nil && nameOf(boot) == b.Name(), err
}

// nameOf says which of the three is on a boot file system that has a grub.cfg of ours.
func nameOf(boot *bootfs.FS) string {
	_, err := boot.Stat(bothPath)
	switch {
	case err == nil:
		return NameBoth
	case onUEFI(boot):
		return NameUEFI
	}
	return NameBIOS
}

// onUEFI reports whether firmware starts GRUB from a file of this file system, and no BIOS from the disk's first
// sector. The directory stays, whatever happens to the file in it; but others may make one on a machine with a BIOS:
// its slots hold a core image, and where they hold neither, another program there is not ours.
func onUEFI(boot *bootfs.FS) bool {
	holds := func(name string) bool {
		return slices.ContainsFunc(bootloader.Slots(), func(s bootloader.Slot) bool {
			_, err := boot.Stat(s.File(name))
			return err == nil
		})
	}
	switch _, err := boot.Stat(bootloader.LoaderDir); {
	case holds(bootloader.CoreFile):
		return false
	case holds(bootloader.LoaderFile): // while a disk is made, there is no directory yet
		return true
	case missing(err):
		return false
	}
	program, err := bootorder.Read(boot, bootorder.MadeFor(boot).Removable())
	return err != nil || !bootorder.IsProgram(program) || isGRUB(program) || bootorder.IsShim(program)
}

// Open implements [bootloader.Backend].
func (b Backend) Open(c bootloader.Config) (bootloader.Bootloader, error) {
	own := Config{FS: c.FS, Vars: c.Vars, Partition: c.Disk.Boot, Cmdline: c.Cmdline, Gone: c.Gone}
	if c.Disk.BIOS != (efivar.HardDrive{}) && c.Disk.SectorSize() == sector {
		own.BIOS = &Place{Disk: c.Disk, First: int64(c.Disk.BIOS.First), Sectors: int64(c.Disk.BIOS.Sectors)}
	}
	return New(own)
}

// Takes implements [bootloader.Backend].
func (b Backend) Takes() bootloader.Takes {
	slot := []string{bootloader.KernelFile, bootloader.InitrdFile, bootloader.CmdlineFile}
	if b.BIOS && !b.Both {
		return bootloader.Takes{Slot: slot, Own: format.GRUBCore, OwnFile: bootloader.CoreFile,
			Install: []string{format.GRUBBoot, format.GRUBCore}}
	}
	install := []string{format.GRUBEFI}
	if b.Both {
		install = append(install, format.GRUBBoot, format.GRUBCore)
	}
	return bootloader.Takes{Slot: slot, Own: format.GRUBEFI, OwnFile: bootloader.LoaderFile,
		Shim:    format.Shim,
		Install: install}
}

// Writes implements [bootloader.SelfWriter]: GRUB counts tries, and turns the canary over in each boot.
func (Backend) Writes() []string { return []string{trialPath} }

// Ways implements [bootloader.Backend]: there is one.
func (Backend) Ways() []bootloader.Way { return nil }

// MaxTries implements [bootloader.Backend].
func (Backend) MaxTries() int { return MaxTries }

// Fits implements [bootloader.Backend].
func (b Backend) Fits(d bootloader.Disk) error {
	switch {
	case d.Boot.Number != PartitionNumber:
		return fmt.Errorf("the boot file system is partition %d, and GRUB's image looks for it in partition %d",
			d.Boot.Number, PartitionNumber)
	case b.byBIOS() && d.SectorSize() != sector:
		return fmt.Errorf("the disk has sectors of %d bytes, and BIOS boots from disks of %d only (use %s)",
			d.SectorSize(), sector, NameUEFI)
	case b.byBIOS() && d.BIOS == (efivar.HardDrive{}):
		return errors.New("the disk has no BIOS boot partition, in which GRUB's core image lies")
	}
	return nil
}

// Install implements [bootloader.Backend]. For both, what a BIOS starts comes first; a cut leaves a disk that nothing, or
// GRUB without a slot, is started from.
func (b Backend) Install(d bootloader.Disk, boot *bootfs.FS, files map[string][]byte) error {
	if b.Both {
		if err := markBoth(boot); err != nil {
			return err
		}
	}
	if b.byBIOS() {
		if err := Install(boot, nil); err != nil {
			return err
		}
		err := InstallBIOS(d, BIOS{
			Boot: files[format.GRUBBoot], Core: files[format.GRUBCore], First: int64(d.BIOS.First),
			Sectors: int64(d.BIOS.Sectors), Active: b.Active && !b.Both,
		})
		if err != nil || !b.Both {
			return err
		}
	}
	return install(boot, files[format.GRUBEFI], files[format.Shim])
}

// CheckKernel implements bootloader.KernelChecker. A kernel for x86 has to be a bzImage, and as long as it says, since
// GRUB starts one that is cut short (Documentation/arch/x86/boot.rst of Linux). Others are EFI programs, which firmware
// loads for GRUB; those that unpack themselves (zboot) are started by GRUB 2.12 and newer alone, and are refused.
func (b Backend) CheckKernel(kernel io.ReaderAt, size int64, machine string) error {
	a, err := arch.Named(machine)
	if err != nil {
		return fmt.Errorf("look whether GRUB starts its kernel: %w", err)
	}
	if b.byBIOS() && a.BIOS == "" {
		return fmt.Errorf("it is for %s, and no BIOS starts GRUB there", machine)
	}
	is, err := arch.OfKernel(kernel)
	switch {
	case err != nil:
		return fmt.Errorf("its kernel is no %s, which GRUB starts on %s", a.Kernel.Format, machine)
	case is.Name != machine:
		return fmt.Errorf("its kernel is for %s, the image says %q", is.Name, machine)
	case a.Kernel.Format == arch.BzImage:
		return checkBzImage(kernel, size)
	}
	if _, err := uki.Parse(kernel, size); err != nil {
		return fmt.Errorf("its kernel is no EFI program, which it is with CONFIG_EFI_STUB: %w", err)
	}
	return nil
}

func checkBzImage(kernel io.ReaderAt, size int64) error {
	header, le := make([]byte, 0x264), binary.LittleEndian
	if _, err := io.ReadFull(io.NewSectionReader(kernel, 0, size), header); err != nil ||
		le.Uint16(header[0x1fe:]) != 0xaa55 {
		return errors.New("its kernel is no whole bzImage")
	}
	setup := int64(header[0x1f1])
	if setup == 0 {
		setup = 4
	}
	if says := (setup+1)*512 + 16*int64(le.Uint32(header[0x1f4:])); size < says {
		return fmt.Errorf("its kernel has %d bytes and says that it has %d", size, says)
	}
	return nil
}
