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
// On BIOS, boot.img is in the first 440 bytes of the disk and the core image in the BIOS boot partition.
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
	"fmt"
	"io/fs"

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

// UEFI reports whether firmware starts this GRUB from a file, and no BIOS from the disk's first sector.
func (l *Loader) UEFI() bool { return onUEFI(l.FS) }

// State implements [bootloader.Bootloader].
func (l *Loader) State() (bootloader.State, error) {
	d, err := l.read()
	if err != nil {
		return bootloader.State{}, err
	}
	return d.state, nil
}

// Withdraw implements [bootloader.Bootloader].
//
//  1. both copies of the default, only where damage left them naming another slot than the one that boots by itself. A
//     cut: that slot, by its copy or because it is the only one that may boot.
//  2. the slot's switch: one sector. A cut: the default; a destroyed switch is off.
func (l *Loader) Withdraw(s bootloader.Slot) error {
	d, err := l.target(s)
	if err == nil {
		err = l.settle(d)
	}
	if err == nil {
		err = l.FS.Overwrite(switchPath(s), encodeSwitch(s, false))
	}
	if err != nil {
		return fmt.Errorf("withdraw slot %v: %w", s, err)
	}
	return nil
}

// Prepare implements [bootloader.Bootloader].
//
//  1. the copies of the default, as in Withdraw. A cut: the default.
//  2. the slot's args.cfg, in its own directory, old or new. A cut: the default.
//  3. the slot's switch: one sector. A cut: the default, which its copies name.
func (l *Loader) Prepare(s bootloader.Slot, m bootloader.Manifest, tries int) error {
	if err := l.prepare(s, m, tries); err != nil {
		return fmt.Errorf("prepare slot %v: %w", s, err)
	}
	return nil
}

func (l *Loader) prepare(s bootloader.Slot, m bootloader.Manifest, tries int) error {
	d, err := l.target(s)
	if err != nil {
		return err
	}
	if err := bootloader.CheckTries(tries, MaxTries); err != nil {
		return err
	}
	held, err := l.complete(s)
	if err != nil {
		return err
	}
	if held.Image != m.Image || held.Version != m.Version {
		return fmt.Errorf("the slot holds version %s (%s), not %s (%s)", held.Version, held.Image, m.Version, m.Image)
	}
	args, err := l.script(s)
	if err != nil {
		return err
	}
	if err := l.settle(d); err != nil {
		return err
	}
	if old, err := l.FS.ReadFile(argsPath(s)); err != nil || string(old) != string(args) {
		if err := l.FS.WriteFile(argsPath(s), args); err != nil {
			return err
		}
	}
	return l.FS.Overwrite(switchPath(s), encodeSwitch(s, true))
}

// Arm implements [bootloader.Bootloader]. GRUB counts from tries, 1 to [MaxTries], down to 0.
//
//  1. trial.env names s: one sector, read back. A cut before: the default; after: the trial, then the default.
//     Destroyed: the default.
func (l *Loader) Arm(s bootloader.Slot, tries int) error {
	if err := l.arm(s, tries); err != nil {
		return fmt.Errorf("arm slot %v: %w", s, err)
	}
	return nil
}

func (l *Loader) arm(s bootloader.Slot, tries int) error {
	d, err := l.target(s)
	if err != nil {
		return err
	}
	if err := bootloader.CheckTries(tries, MaxTries); err != nil {
		return err
	}
	switch {
	case d.state.Blocked != nil:
		return d.state.Blocked
	case d.state.Default == bootloader.None:
		return errors.New("there is no default to fall back to; confirm a slot first")
	case d.named() != d.state.Default:
		return fmt.Errorf("neither copy of the default names slot %v; prepare the slot again", d.state.Default)
	case !d.bootable[s]:
		return errors.New("the slot is not prepared")
	}
	for _, slot := range bootloader.Slots() {
		if _, err := l.complete(slot); err != nil {
			return err
		}
	}
	if err := l.Untry(); err != nil {
		return err
	}
	return l.setTrial(trial{slot: s, tries: tries, canary: d.trial.canary})
}

// setTrial writes trial.env and reads it back.
func (l *Loader) setTrial(t trial) error {
	want := encodeTrial(t)
	if err := l.FS.Overwrite(trialPath, want); err != nil {
		return err
	}
	got, err := l.FS.ReadFile(trialPath)
	if err != nil {
		return fmt.Errorf("read back %s: %w", trialPath, err)
	}
	if string(got) != string(want) {
		return fmt.Errorf("read back %s: it holds something else; the device does not keep what is written to it",
			trialPath)
	}
	return nil
}

// Disarm implements [bootloader.Bootloader].
//
//  1. trial.env names no slot: one sector, read back. A cut before: the trial; after, or destroyed: the default.
//
// A BootNext that starts a copy of GRUB (Try) goes before: it decides nothing.
func (l *Loader) Disarm() error {
	if err := l.disarm(); err != nil {
		return fmt.Errorf("disarm: %w", err)
	}
	return nil
}

func (l *Loader) disarm() error {
	if err := l.foreign(); errors.Is(err, bootloader.ErrForeign) {
		return err
	}
	if err := l.Untry(); err != nil {
		return err
	}
	d, err := l.read()
	if err != nil {
		return err
	}
	return l.setTrial(trial{canary: d.trial.canary})
}

// Confirm implements [bootloader.Bootloader].
//
//  1. the older copy of the default, or the destroyed one, names s with a higher serial: one sector. A cut before, or a
//     sector destroyed or torn: the old default, which the other copy names; after: s.
//  2. trial.env names no slot: one sector. A cut: s, since no slot is on trial that is the default.
//  3. the other copy names s too: one sector. A cut, also with the sector destroyed: s, by the first copy.
//
// Without step 3 a copy that goes bad later would bring the old default back.
func (l *Loader) Confirm(s bootloader.Slot) error {
	if err := l.confirm(s); err != nil {
		return fmt.Errorf("confirm slot %v: %w", s, err)
	}
	return nil
}

func (l *Loader) confirm(s bootloader.Slot) error {
	if s != bootloader.A && s != bootloader.B {
		return errors.New("no such slot")
	}
	d, err := l.read()
	if err != nil {
		return err
	}
	if !d.bootable[s] {
		return errors.New("the slot is not prepared")
	}
	if _, err := l.complete(s); err != nil {
		return err
	}
	commit, rest := l.standings(d, s)
	if err := commit(); err != nil {
		return err
	}
	if err := l.setTrial(trial{canary: d.trial.canary}); err != nil {
		return fmt.Errorf("it is the default now; disarm: %w", err)
	}
	if err := rest(); err != nil {
		return fmt.Errorf("it is the default now; second copy: %w", err)
	}
	return nil
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

// complete reads the manifest of a slot that is complete, and that GRUB could start.
func (l *Loader) complete(s bootloader.Slot) (bootloader.Manifest, error) {
	m, err := bootloader.ReadSlot(l.FS, s)
	if err != nil {
		return bootloader.Manifest{}, fmt.Errorf("slot %v is not complete: %w", s, err)
	}
	for _, name := range []string{bootloader.KernelFile, bootloader.InitrdFile} {
		if !m.Holds(name) {
			return bootloader.Manifest{},
				fmt.Errorf("slot %v has no %s, and GRUB starts a kernel with an initramfs: %w", s, name,
					errors.ErrUnsupported)
		}
	}
	return m, nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
