// Package grub is the Bootloader for GRUB 2, on BIOS and on UEFI: the default in two blocks that GRUB never writes,
// trials in one that it counts down itself. No firmware variable is needed.
//
// Start with Install (and [InstallBIOS] for a machine without UEFI) on an empty boot file system, then New. On disk it
// keeps
//
//	EFI/BOOT/BOOTX64.EFI             UEFI only: GRUB
//	EFI/pawl/A/, EFI/pawl/B/         the slots: vmlinuz, initrd, perhaps cmdline, and args.cfg, which is made from it; loader.efi
//	                                 or loader.img, the version's own GRUB
//	grub/grub.cfg                    the logic; written once
//	grub/A.cfg, grub/B.cfg           512 bytes each: whether the slot may boot
//	grub/default.0.env, default.1.env  512 bytes each: the default, with a serial; the newest valid one counts
//	grub/trial.env                   512 bytes: the slot on trial, tries left, a canary; the one block that GRUB writes
//
// On BIOS, boot.img is in the first 440 bytes of the disk and the core image in the BIOS boot partition. A disk may have
// both ways in, and then grub/both.txt: they read the same blocks and start the same slots. Of those two the one for
// UEFI is the version's own, and is replaced as on UEFI; the other stays as it was installed.
//
// It guarantees that every method can be cut at any write and called again, that arming and confirming are one write of
// one sector each, and that a slot that was not confirmed never boots by itself. While a copy of the default is written
// the other one stays, so even a destroyed sector leaves the old default. A trial whose count GRUB cannot save is no
// trial.
//
// It does not check what is inside a slot's files: GRUB starts a kernel that is cut short, and only what was read back
// before it was armed is known to be whole. GRUB's own write is not flushed: until the system that it starts flushes
// the disk, a cut may bring the try back. Kernel arguments with quotes or backslashes inside are refused, because GRUB
// changes them.
//
// Specification: the GRUB 2.06 manual and its sources; see grub.cfg for the script, docs/decisions/0005-grub.md for
// why.
package grub

import (
	"errors"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition/device"
)

// ErrNotCounted is returned when GRUB could not write trial.env in this boot, so it could not count a trial either. The
// machine would boot its default. Do: confirm the running slot, which writes the block anew, and reboot once.
var ErrNotCounted = errors.New("GRUB cannot count trials on this machine")

// Config is what a Loader works on. FS and Partition are required.
type Config struct {
	FS *bootfs.FS
	// the boot file system's own partition: its GUID tells this boot from one of another disk
	Partition efivar.HardDrive
	// the firmware's variables, to see a foreign BootNext; nil where there are none
	Vars    efivar.Store
	Cmdline string                      // this boot's kernel command line: what GRUB says of the boot is there
	Gone    func(efivar.HardDrive) bool // see bootorder.Order; nil where it is not known
	// where a BIOS starts GRUB from; nil where that is not known, and then GRUB is not compared
	BIOS *Place
}

// Place is where a BIOS starts GRUB from: a disk, and its BIOS boot partition in sectors of 512 bytes.
type Place struct {
	Disk           device.Device
	First, Sectors int64
}

// Loader is GRUB on one boot file system. It implements [bootloader.Bootloader].
type Loader struct {
	Config
	vars efivar.Store
}

var _ bootloader.Bootloader = (*Loader)(nil)

// New returns the loader on a boot file system. It reads nothing yet.
func New(c Config) (*Loader, error) {
	switch {
	case c.FS == nil:
		return nil, errors.New("GRUB: no boot file system given")
	case c.Partition.GUID == efivar.GUID{}:
		return nil, errors.New("GRUB: the GUID of the boot file system's partition is needed")
	}
	l := &Loader{Config: c, vars: c.Vars}
	if l.vars == nil {
		l.vars = efivar.Absent()
	}
	return l, nil
}

// UEFI reports whether firmware starts this GRUB from a file, and not a BIOS alone from the disk's first sector.
func (l *Loader) UEFI() bool { return nameOf(l.FS) != NameBIOS }

// State implements [bootloader.Bootloader].
func (l *Loader) State() (bootloader.State, error) {
	d, err := l.read()
	if err != nil {
		return bootloader.State{}, err
	}
	return d.state, nil
}

// standings returns what makes s the default: the write that decides, and the one that makes the copies agree. A copy
// that names s already is only flushed, because a killed program may have left it in a cache.
func (l *Loader) standings(d disk, s bootloader.Slot) (commit, rest func() error) {
	newest := d.newest()
	write := func(copy int, v standing) func() error {
		return func() error { return l.FS.Overwrite(defaultPath(copy), encodeStanding(copy, v)) }
	}
	if newest >= 0 && d.copies[newest].slot == s {
		other := d.copies[1-newest]
		if !other.valid || other.slot != s {
			other = standing{serial: d.copies[newest].serial + 1, slot: s, valid: true}
		}
		return write(newest, d.copies[newest]), write(1-newest, other)
	}
	first, serial := 0, 0
	if newest >= 0 {
		first, serial = 1-newest, d.copies[newest].serial
	}
	return write(first, standing{serial + 1, s, true}), write(1-first, standing{serial + 2, s, true})
}

// settle makes the copies of the default name the slot that boots by itself, where damage left it otherwise.
func (l *Loader) settle(d disk) error {
	if d.state.Default == bootloader.None || d.named() == d.state.Default {
		return nil
	}
	commit, rest := l.standings(d, d.state.Default)
	if err := commit(); err != nil {
		return err
	}
	return rest()
}

// target reads the state and refuses a slot that must not be touched.
func (l *Loader) target(s bootloader.Slot) (disk, error) {
	if s != bootloader.A && s != bootloader.B {
		return disk{}, errors.New("no such slot")
	}
	d, err := l.read()
	switch {
	case err != nil:
		return disk{}, err
	case s == d.state.Active:
		return disk{}, errors.New("it is the active slot: this machine runs from it")
	case s == d.state.Default:
		return disk{}, errors.New("it is the default slot: the machine boots it by itself")
	case d.state.Default == bootloader.None && !d.fresh:
		return disk{}, errors.New("no slot boots by itself, though this is no new install; confirm a slot first")
	}
	return d, nil
}
