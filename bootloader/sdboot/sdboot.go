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

// Withdraw implements [bootloader.Bootloader].
//
//  1. loader.conf, where it was destroyed, leaves the choice to the order, or names another slot than the one that
//     boots by itself: one sector. A cut: the default boots, by its name or by the order of the entries; or what was
//     armed. Then LoaderEntryPreferred and LoaderEntryDefault are deleted, where they name a slot. A cut: the default.
//  2. entries that count become empty: one sector each. A cut: the default, which loader.conf names.
//  3. the slot's entry becomes empty: one sector. A cut: the default boots; a destroyed entry is no entry.
func (l *Loader) Withdraw(s bootloader.Slot) error {
	d, err := l.target(s)
	if err == nil {
		err = l.settle(d)
	}
	if err == nil {
		err = l.releaseCounted(d)
	}
	if err == nil {
		err = l.FS.Overwrite(entryPath(s), empty())
	}
	if err != nil {
		return fmt.Errorf("withdraw slot %v: %w", s, err)
	}
	return nil
}

// Prepare implements [bootloader.Bootloader]. On an install, firmware variables that cannot be kept are no error: the
// loader lies where firmware finds it without them; State says so in Blocked.
//
//  1. loader.conf, as in Withdraw. A cut: the default.
//  2. missing starts of the loader: each Boot####, then BootOrder. A cut: the default; an entry that BootOrder does not
//     name yet is used by the next run.
//  3. with Config.Trial BootNext, a boot option for the slot's UKI, which BootOrder does not name. A cut: the default.
//  4. entries that count become empty; with Config.Trial Counting one gets the name that counts from tries, which takes
//     a directory and a table. A cut: the default.
//  5. the slot's entry, sorted behind the default's: one sector. A cut: the default, which loader.conf names.
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
	key := untriedKey
	if d.state.Default != bootloader.None {
		key = behind(d.entries[d.state.Default].sortKey)
	}
	sector, err := l.entry(s, held, key)
	if err != nil {
		return err
	}
	if l.Trial == BootNext && !d.fresh && !held.Holds(bootloader.UKIFile) {
		return fmt.Errorf("the firmware can start a UKI by itself, and the slot has none (try it by %s): %w", OneShot,
			errors.ErrUnsupported)
	}
	if err := l.settle(d); err != nil {
		return err
	}
	err = l.ensureStarts(l.starts(tries), d.fresh)
	if without := d.fresh || l.Trial == Counting; err != nil &&
		!(without && errors.Is(err, bootloader.ErrNoVariables)) {
		return err
	}
	if l.Trial == BootNext && !d.fresh { // an install is not tried
		if err := l.ensureDirect(s); err != nil {
			return err
		}
	}
	if err := l.releaseCounted(d); err != nil {
		return err
	}
	if l.Trial == Counting && !d.fresh {
		if err := l.ensureCounted(d, s, tries); err != nil {
			return err
		}
	}
	return l.FS.Overwrite(entryPath(s), sector)
}

// entry is the sector of a slot's entry.
func (l *Loader) entry(s bootloader.Slot, held bootloader.Manifest, key string) ([]byte, error) {
	options := ""
	if !held.Holds(bootloader.UKIFile) {
		var err error
		if options, err = l.arguments(s); err != nil {
			return nil, err
		}
	}
	return encodeEntry(entryFor(s, held, l.Title, key, options))
}

// Arm implements bootloader.Bootloader. Whatever tries says, 1 to MaxTries, the loader boots the slot once; the trial
// arms its own slot again.
//
//  1. LoaderEntryOneShot := the slot's entry, read back. A cut before: the default; after: the trial, then the default.
//     With Config.Trial BootNext := the boot option for the slot's UKI, likewise.
//
// A BootNext that starts a copy of the loader (Try) goes before: it decides nothing. With Config.Trial Counting it is
// two sectors, of which the second decides:
//
//  1. the entry that counts: the slot's own, with a sort key in front of all. A cut: the default, which loader.conf
//     names.
//  2. loader.conf leaves the choice to the order of the entries. A cut before: the default; after, or destroyed: the
//     trial, as often as it is counted, then the default, which is first among the others.
func (l *Loader) Arm(s bootloader.Slot, tries int) error {
	if err := l.arm(s, tries); err != nil {
		return fmt.Errorf("arm slot %v: %w", s, err)
	}
	return nil
}

func (l *Loader) arm(s bootloader.Slot, tries int) error {
	d, err := l.tryable(s)
	if err != nil {
		return err
	}
	if err := bootloader.CheckTries(tries, MaxTries); err != nil {
		return err
	}
	if d.state.Blocked != nil {
		return d.state.Blocked
	}
	other := d.state.Default
	switch {
	case other == bootloader.None:
		return errors.New("there is no default to fall back to; confirm a slot first")
	case d.conf.slot() != other || d.conf.preferredID != "" || d.conf.counts && l.Trial != Counting:
		return fmt.Errorf("loader.conf does not name the default, slot %v; prepare the slot again", other)
	case len(d.remove) > 0:
		return fmt.Errorf("%s is set and outranks loader.conf; prepare the slot again, which removes it: %w",
			d.remove[0], bootloader.ErrForeign)
	case !d.entries[s].bootable:
		return errors.New("the slot is not prepared")
	case d.entries[other].sortKey == "":
		return fmt.Errorf("the entry of the default, slot %v, has no sort-key, so nothing sorts behind it; confirm the "+
			"running slot, which writes it", other)
	case d.entries[s].sortKey <= d.entries[other].sortKey:
		return fmt.Errorf("its entry does not sort behind that of the default, slot %v; prepare it again", other)
	}
	for _, slot := range bootloader.Slots() {
		if _, err := l.complete(slot); err != nil {
			return err
		}
	}
	if order, err := l.survey(); err != nil {
		return err
	} else if l.Trial != Counting && order.Starts < l.starts(tries) && !(d.direct && l.Trial == BootNext) {
		return fmt.Errorf("the firmware starts the loader %d times in a row, %d are needed to come back from a trial "+
			"that does not load; prepare the slot again", order.Starts, l.starts(tries))
	}
	if err := l.Untry(); err != nil {
		return err
	}
	return l.commit(d, s, tries)
}

// Disarm implements [bootloader.Bootloader].
//
//  1. BootNext, where it starts a slot of ours, is deleted and read back. A cut before: the trial; after: what is left.
//  2. LoaderEntryOneShot likewise. A cut before: the trial; after: what is left. Where it cannot be deleted it names
//     the default from now on; where it cannot be written either, the entry that it names becomes empty, one sector,
//     and confirm fills it again.
//  3. loader.conf names the default, where entries count: one sector. A cut before, or destroyed: the trial, as
//     counted; after: the default.
//  4. those entries become empty: one sector each. A cut: the default.
//
// Only one of the three arms anything, but where ways of trying were mixed. A BootNext that starts a copy of the loader
// (Try) goes first.
func (l *Loader) Disarm() error {
	if err := l.disarm(); err != nil {
		return fmt.Errorf("disarm: %w", err)
	}
	return nil
}

func (l *Loader) disarm() error {
	if err := l.foreignArmed(); errors.Is(err, bootloader.ErrForeign) {
		return err
	}
	untried := l.Untry() // told of in the end: it starts no trial
	released := l.release(bootloader.None)
	d, err := l.read()
	if err != nil {
		return errors.Join(released, err)
	}
	if released != nil {
		if err := l.outdo(d); err != nil {
			return errors.Join(released, err)
		}
	}
	if len(d.counted) > 0 {
		if err := l.settle(d); err != nil {
			return err
		}
	}
	return errors.Join(l.releaseCounted(d), untried)
}

// outdo sees to it that a LoaderEntryOneShot which cannot be deleted starts no trial.
func (l *Loader) outdo(d disk) error {
	if d.state.ArmedBy != oneShot || d.state.Default == bootloader.None {
		return errors.New("nothing else stops the firmware from starting that slot")
	}
	if l.renameOneShot(d.state.Default) == nil {
		return nil
	}
	return l.FS.Overwrite(entryPath(d.state.Armed), empty())
}

// target reads the state and refuses a slot that must not be touched.
func (l *Loader) target(s bootloader.Slot) (disk, error) {
	d, err := l.tryable(s)
	if err == nil && s == d.state.Active {
		return disk{}, errors.New("it is the active slot: this machine runs from it")
	}
	return d, err
}

// tryable reads the state and refuses a slot that cannot be tried. The one that is on trial can be tried again.
func (l *Loader) tryable(s bootloader.Slot) (disk, error) {
	if s != bootloader.A && s != bootloader.B {
		return disk{}, errors.New("no such slot")
	}
	d, err := l.read()
	switch {
	case err != nil:
		return disk{}, err
	case s == d.state.Default:
		return disk{}, errors.New("it is the default slot: the machine boots it by itself")
	case d.overrule != nil:
		return disk{}, d.overrule
	case d.state.Default == bootloader.None && !d.fresh:
		return disk{}, errors.New("no slot boots by itself, though this is no new install; confirm a slot first")
	}
	return d, nil
}

// settle makes loader.conf name the slot that boots by itself, where damage, a cut or others left it otherwise, and
// then sees to it that no variable outranks it.
func (l *Loader) settle(d disk) error {
	if d.state.Default == bootloader.None {
		return nil
	}
	if d.conf.slot() != d.state.Default || d.conf.preferredID != "" || d.conf.counts {
		if err := l.FS.Overwrite(confPath, encodeConf(conf{defaultID: entryID(d.state.Default),
			timeout: l.Timeout})); err != nil {
			return err
		}
	}
	return l.settleVariables(d)
}

// complete reads the manifest of a slot that is complete, and that systemd-boot could start.
func (l *Loader) complete(s bootloader.Slot) (bootloader.Manifest, error) {
	m, err := bootloader.ReadSlot(l.FS, s)
	if err != nil {
		return bootloader.Manifest{}, fmt.Errorf("slot %v is not complete: %w", s, err)
	}
	if !m.Holds(bootloader.UKIFile) && !(m.Holds(bootloader.KernelFile) && m.Holds(bootloader.InitrdFile)) {
		return bootloader.Manifest{}, fmt.Errorf("slot %v has neither %s nor %s with %s: %w",
			s, bootloader.UKIFile, bootloader.KernelFile, bootloader.InitrdFile, errors.ErrUnsupported)
	}
	return m, nil
}

// kept turns the store's way of saying that variables cannot be kept into the interface's.
func kept(err error) error {
	if errors.Is(err, efivar.ErrNotKept) {
		return fmt.Errorf("%w: %w", bootloader.ErrNoVariables, err)
	}
	return err
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
