// Package sdboot is the Bootloader for systemd-boot: two entries of one sector each in loader/entries, the default in
// loader/loader.conf, and trials by the firmware variable LoaderEntryOneShot.
//
// Start with Install on an empty boot file system, then New. On disk it keeps
//
//	EFI/BOOT/BOOTX64.EFI        the loader (BOOTAA64.EFI on arm64)
//	EFI/pawl/A/, EFI/pawl/B/    the slots: os.efi, or vmlinuz, initrd and perhaps cmdline; loader.efi, the version's own loader
//	loader/loader.conf          512 bytes: an exact default and the menu's timeout
//	loader/entries/pawl-a.conf  512 bytes: slot A, with the arguments of its kernel; nothing but newlines when A is not bootable
//	loader/entries/pawl-b.conf  the same for B
//
// and in the firmware LoaderEntryOneShot (or [BootNext]) while armed, as many Boot#### entries as it takes to come back
// from a trial that does not load (docs/decisions/0002-boot-order.md), and one for the loader in the default's slot
// (0008-loader.md). With Counting there is also loader/entries/pawl-b+3-0.conf, 512 bytes, which is empty but while
// armed.
//
// It guarantees that every method can be cut at any write and called again, that arming and confirming are one write
// each, and that a slot that was not confirmed never boots by itself, even with loader.conf destroyed: its entry sorts
// behind the default's. It does not check what is inside a slot's files, and does not sign. It does not count tries:
// one arming is one boot, and the trial arms the next one ([bootloader.State.Again]).
//
// Counting, for machines whose firmware keeps no variables, guarantees less. Prepare makes the counted entry's file in
// loader/entries, where the default's entry is too, the loader renames it there before each boot, and the firmware's
// driver writes whole pages of its cache for that: a block that a power cut destroys there, and does not leave old or
// new, can cost the default's entry, and with it the machine. Where a rename fails the loader boots the entry all the
// same, and does not count; a trial that comes so far as to look at State then disarms itself
// ([bootloader.State.Endless]), one that does not is tried for ever. And what does not load leaves the machine in the
// firmware, unless BootOrder starts the loader again. So it has to be asked for.
//
// Specification: the Boot Loader Specification and the Boot Loader Interface of the UAPI group, as systemd-boot 252
// implements them.
package sdboot

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Config is what a Loader works on. FS and Partition are required.
type Config struct {
	FS        *bootfs.FS
	Partition efivar.HardDrive // the boot file system's own partition: number (from 1), place and GUID
	// nil where there are none, as on a disk image: nothing runs there and nothing can be armed
	Vars    efivar.Store
	Cmdline string                      // this boot's kernel command line, for pawl.slot=
	Idle    bool                        // this boot came from another disk, whatever the variables say of it
	Title   string                      // what the menu calls the system; "" is "Pawl"
	Timeout int                         // seconds that the menu is shown, written with the next change of the default
	Trial   Way                         // how slots are tried; "" is OneShot
	Gone    func(efivar.HardDrive) bool // see bootorder.Order; nil where it is not known
}

// Loader is systemd-boot on one boot file system. It implements [bootloader.Bootloader].
type Loader struct {
	Config
	vars efivar.Store
}

var _ bootloader.Bootloader = (*Loader)(nil)

// New returns the loader on a boot file system. It reads nothing yet.
func New(c Config) (*Loader, error) {
	switch {
	case c.FS == nil:
		return nil, errors.New("systemd-boot: no boot file system given")
	case c.Partition.Number == 0 || c.Partition.GUID == efivar.GUID{}:
		return nil, errors.New("systemd-boot: the boot file system's partition number and GUID are needed")
	case c.Timeout < 0:
		return nil, fmt.Errorf("systemd-boot: a timeout of %d seconds", c.Timeout)
	}
	if c.Title == "" {
		c.Title = "Pawl"
	}
	l := &Loader{Config: c, vars: c.Vars}
	if l.vars == nil {
		l.vars = efivar.Absent()
	}
	return l, nil
}

// State implements [bootloader.Bootloader].
func (l *Loader) State() (bootloader.State, error) {
	d, err := l.read()
	if err != nil {
		return bootloader.State{}, err
	}
	return d.state, nil
}

// settle makes loader.conf name the slot that boots by itself, where damage, a cut or others left it otherwise, and
// then sees to it that no variable outranks it.
func (l *Loader) settle(d disk) error {
	if d.state.Default == bootloader.None {
		return nil
	}
	if d.conf.slot() != d.state.Default || d.conf.preferredID != "" || d.conf.counts {
		if err := l.FS.Overwrite(confPath, encodeConf(conf{defaultID: entryID(d.state.Default),
			timeout: l.Timeout, enroll: d.conf.enroll})); err != nil {
			return err
		}
	}
	return l.settleVariables(d)
}

// kept turns the store's way of saying that variables cannot be kept into the interface's.
func kept(err error) error {
	if errors.Is(err, efivar.ErrNotKept) {
		return fmt.Errorf("%w: %w", bootloader.ErrNoVariables, err)
	}
	return err
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
