package sdboot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Way says how a slot is tried.
type Way string

// The ways.
const (
	// OneShot has the loader start the slot's entry once: LoaderEntryOneShot. A trial takes the path of every later
	// boot.
	OneShot Way = "one-shot"
	// BootNext has the firmware start the slot's UKI once, without the loader. The firmware goes on to the loader by
	// itself when the UKI does not load, so no second start of the loader is needed.
	BootNext Way = "boot-next"
	// Counting has the loader count boots in the name of the slot's entry, and needs no variable. What that puts at
	// risk is in the package comment.
	Counting Way = "counting"
)

// Ways lists them.
func Ways() []Way { return []Way{OneShot, BootNext, Counting} }

// TryBy implements [bootloader.WayChooser]; "" is [OneShot].
func (l *Loader) TryBy(way string) error {
	if way != "" && !slices.Contains(Ways(), Way(way)) {
		return fmt.Errorf("try by %q: systemd-boot knows %v", way, Ways())
	}
	l.Trial = Way(way)
	return nil
}

// starts is how often firmware has to start the loader in a row, for a trial to come back that does not load.
func (l *Loader) starts(tries int) int {
	if l.Trial == BootNext {
		return 1
	}
	return tries + 1
}

// ensureDirect sees to it that the firmware has a boot option for the UKI of slot s, beside BootOrder. A cut: an option
// that nothing names.
func (l *Loader) ensureDirect(s bootloader.Slot) error {
	_, used, err := l.direct(s)
	if err == nil || !missing(err) {
		return err
	}
	// Numbers from here on: OVMF gives the lowest that BootOrder does not name to options of its own, whoever has them
	// (seen).
	n := uint16(0x50)
	for slices.Contains(used, n) {
		n++
	}
	data, err := efivar.LoadOption{
		Attributes:  efivar.Active,
		Description: fmt.Sprintf("%s, slot %v once", l.Title, s),
		Path:        []efivar.Node{l.Partition.Node(), efivar.FilePath(ukiPath(s)), efivar.End()},
	}.Encode()
	if err != nil {
		return err
	}
	return kept(l.vars.Write(efivar.Boot(n), efivar.Variable{Attributes: efivar.Kept, Data: data}))
}

// direct finds the boot option for the UKI of slot s that BootOrder does not name; fs.ErrNotExist when there is none,
// with the numbers that are in use.
func (l *Loader) direct(s bootloader.Slot) (n uint16, used []uint16, err error) {
	v, err := l.vars.Read(efivar.Global("BootOrder"))
	if err == nil {
		used, err = efivar.DecodeNumbers(v.Data)
	}
	if err != nil && !missing(err) {
		return 0, nil, fmt.Errorf("BootOrder: %w", err)
	}
	names, err := l.vars.List()
	if err != nil {
		return 0, nil, err
	}
	for _, name := range names {
		n, ok := name.BootNumber()
		if !ok || slices.Contains(used, n) {
			continue
		}
		used = append(used, n)
		if l.startsSlot(n) == s {
			return n, used, nil
		}
	}
	return 0, used, errNoDirect
}

var errNoDirect = fmt.Errorf("the firmware has no boot option for the slot's UKI: %w", fs.ErrNotExist)

// startsSlot is the slot whose UKI a boot option starts; None when it starts something else.
func (l *Loader) startsSlot(n uint16) bootloader.Slot {
	o, err := bootorder.Option(l.vars, n)
	if err != nil {
		return bootloader.None
	}
	drive, path, short, ok := o.Target()
	if !ok || !short || drive.GUID != l.Partition.GUID || drive.Number != l.Partition.Number {
		return bootloader.None
	}
	return slotOfPath(path)
}

// nextSlot is the slot that BootNext starts; None when it is not set, starts a copy of the loader, which decides
// nothing, or is set to something else: then foreign says so.
func (l *Loader) nextSlot() (s bootloader.Slot, foreign error, err error) {
	next, err := l.vars.Read(efivar.Global(nextBoot))
	if missing(err) {
		return bootloader.None, nil, nil
	}
	if err != nil {
		return bootloader.None, nil, err
	}
	what := fmt.Sprintf("%x", next.Data[:min(len(next.Data), 64)])
	if n, err := efivar.DecodeNumber(next.Data); err == nil {
		if s := l.startsSlot(n); s != bootloader.None {
			return s, nil, nil
		}
		what = l.describe(n)
	}
	if copied, err := bootorder.NextIsCopy(l.vars, l.Partition); err != nil || copied {
		return bootloader.None, nil, err
	}
	return bootloader.None, fmt.Errorf("BootNext is set to %s; boot once, or delete that variable (efibootmgr "+
		"--delete-bootnext): %w", what, bootloader.ErrForeign), nil
}

// nextLost reports whether BootNext names an option that is not there, as Disarm leaves it where it cannot be deleted.
func (l *Loader) nextLost() bool {
	n, err := l.next()
	if err != nil {
		return false
	}
	_, err = l.vars.Read(efivar.Boot(n))
	return missing(err)
}

// nextUnread reports whether BootNext names the option that started this boot, and that one can no longer be read.
// Firmware that does not use BootNext up leaves it so.
func (l *Loader) nextUnread() bool {
	n, err := l.next()
	if err != nil {
		return false
	}
	current, set, err := bootorder.Current(l.vars)
	_, unread := bootorder.Option(l.vars, n)
	return err == nil && set && n == current && unread != nil && !missing(unread)
}

// next is the number that BootNext holds.
func (l *Loader) next() (uint16, error) {
	v, err := l.vars.Read(efivar.Global(nextBoot))
	if err != nil {
		return 0, err
	}
	return efivar.DecodeNumber(v.Data)
}

// commit is the one write of Arm, read back. What cannot be read back is deleted again: Disarm would not know that it
// is ours.
func (l *Loader) commit(d disk, s bootloader.Slot, tries int) error {
	if l.Trial == Counting {
		return l.commitCounted(d, s, tries)
	}
	name, value := efivar.Loader(oneShot), efivar.EncodeString(entryID(s))
	if l.Trial == BootNext {
		n, _, err := l.direct(s)
		if errors.Is(err, errNoDirect) {
			return fmt.Errorf("%w; prepare the slot again", err)
		}
		if err != nil {
			return err
		}
		name, value = efivar.Global(nextBoot), efivar.EncodeNumbers(n)
	}
	v := efivar.Variable{Attributes: efivar.Kept, Data: value}
	if old, err := l.vars.Read(name); err == nil && old.Attributes != v.Attributes {
		if err := l.clear(name); err != nil { // attributes do not change while a variable exists
			return err
		}
	}
	if err := l.vars.Write(name, v); err != nil {
		return kept(err)
	}
	back, err := l.vars.Read(name)
	switch {
	case err != nil:
		err = fmt.Errorf("read back %s: %w: %w", name.Name, err, bootloader.ErrNoVariables)
	case !back.Equal(v):
		err = fmt.Errorf("read back %s: it holds %x: %w", name.Name, back.Bytes(), bootloader.ErrNoVariables)
	default:
		return nil
	}
	return errors.Join(err, l.clear(name))
}

// renameOneShot has LoaderEntryOneShot, which cannot be deleted, name a slot that boots by itself.
func (l *Loader) renameOneShot(s bootloader.Slot) error {
	v := efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeString(entryID(s))}
	if err := l.vars.Write(efivar.Loader(oneShot), v); err != nil {
		return kept(err)
	}
	back, err := l.vars.Read(efivar.Loader(oneShot))
	if err == nil && !back.Equal(v) {
		err = fmt.Errorf("%s holds something else still: %w", oneShot, bootloader.ErrNoVariables)
	}
	return err
}

// release deletes what arms one of our slots, and reads back that it is gone. What another program armed stays. What
// arms the slot that was just confirmed changes nothing where it cannot be deleted; nor does what cannot be read, since
// it was that slot's: it goes too, where the firmware lets it.
func (l *Loader) release(confirmed bootloader.Slot) error {
	next, _, nextErr := l.nextSlot()
	once, onceErr := l.armedByUs()
	var errs []error
	for _, v := range []struct {
		name efivar.Name
		slot bootloader.Slot
		err  error
	}{{efivar.Global(nextBoot), next, nextErr}, {efivar.Loader(oneShot), once, onceErr}} {
		err := v.err
		_, unread := l.vars.Read(v.name)
		hidden := unread != nil && !missing(unread) || v.name == efivar.Global(nextBoot) && l.nextUnread()
		if hidden && confirmed != bootloader.None {
			_ = l.clear(v.name)
		}
		if err == nil && v.slot != bootloader.None {
			if err = l.clear(v.name); err != nil && confirmed != bootloader.None && v.name == efivar.Loader(oneShot) {
				err = l.renameOneShot(confirmed)
			}
			if err != nil {
				err = fmt.Errorf("%s is armed: %w", v.name.Name, err)
			}
		}
		if err != nil && (confirmed == bootloader.None || v.err == nil && v.slot != confirmed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
