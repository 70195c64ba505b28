package sdboot

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

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
//     Where it cannot be deleted, the boot option goes that it names, and firmware goes on to the loader.
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
	untried := l.Untry() // reported in the end: it starts no trial
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

// outdo sees to it that what arms a trial and cannot be deleted starts none.
func (l *Loader) outdo(d disk) error {
	switch {
	case d.state.Default == bootloader.None:
	case d.state.ArmedBy == nextBoot:
		v, err := l.vars.Read(efivar.Global(nextBoot))
		if err != nil {
			return err
		}
		n, err := efivar.DecodeNumber(v.Data)
		if err != nil {
			return err
		}
		return l.clear(efivar.Boot(n))
	case d.state.ArmedBy == oneShot:
		if l.renameOneShot(d.state.Default) == nil {
			return nil
		}
		return l.FS.Overwrite(entryPath(d.state.Armed), empty())
	}
	return errors.New("nothing else stops the firmware from starting that slot")
}

// target reads the state and refuses a slot that must not be touched.
func (l *Loader) target(s bootloader.Slot) (disk, error) {
	d, err := l.tryable(s)
	if err != nil {
		return disk{}, err
	}
	if s == d.state.Active {
		return disk{}, errors.New("it is the active slot: this machine runs from it")
	}
	if once, err := l.armedByUs(); err == nil && once == s && d.state.Armed != s {
		return disk{}, fmt.Errorf("%s names it, and starts it as soon as it is bootable; disarm, or delete that variable "+
			"(%s): %w", oneShot, deletes[oneShot], bootloader.ErrNoVariables)
	}
	if !d.fresh && l.nextLost() {
		return disk{}, fmt.Errorf("%s cannot be deleted, and names a boot option that is gone: nothing can be armed; "+
			"boot once, or delete that variable (efibootmgr --delete-bootnext): %w", nextBoot, bootloader.ErrNoVariables)
	}
	return d, nil
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
