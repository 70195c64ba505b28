package sdboot

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// readArmed finds what is armed, and everything for which Arm would be refused.
func (l *Loader) readArmed(d *disk) error {
	d.state.Again = !d.conf.counts && l.Trial != Counting
	if c := d.inTurn(); c != nil {
		d.state.Armed, d.state.ArmedBy, d.state.Tries = c.slot, c.name, c.left
		if d.state.Endless = c.slot == d.state.Active && c.done == 0; d.state.Endless {
			d.warn("The loader started slot %v and could not count that in the name of %s.", c.slot, c.name)
		}
	}
	switch s, err := l.armedByUs(); {
	case err != nil:
		d.block(err)
	case s == bootloader.None:
	case s == d.state.Default:
		d.warn("%s names slot %v, which is the default; that changes nothing.", oneShot, s)
	case d.entries[s].bootable:
		d.state.Armed, d.state.ArmedBy, d.state.Tries = s, oneShot, 1 // before any count
	default:
		d.warn("%s names slot %v, which is not bootable; the loader ignores it.", oneShot, s)
	}
	next, _, err := l.nextSlot()
	if err != nil {
		d.block(err)
	}
	if next != bootloader.None { // the firmware obeys before the loader is started
		if _, err := l.FS.Stat(next.File(bootloader.UKIFile)); err == nil {
			d.state.Armed, d.state.ArmedBy, d.state.Tries = next, nextBoot, 1
		} else if missing(err) {
			d.warn("BootNext starts slot %v, which has no %s; the firmware will go on to the loader.", next,
				bootloader.UKIFile)
		} else {
			return err
		}
	}
	names, err := l.vars.List()
	if err != nil {
		d.block(err)
	}
	l.readStops(d)
	d.state.Blocked = cmp.Or(d.overrule, d.blocked)
	if d.state.Blocked == nil {
		d.state.Blocked = d.confLength()
	}
	return l.readBlocked(d, len(names) > 0)
}

// confLength is why a confirm could not overwrite loader.conf in place; nil when it can.
func (d *disk) confLength() error {
	if d.confSize == sectorSize {
		return nil
	}
	return fmt.Errorf("%s was edited: it has %d bytes, and a confirm could not overwrite it; pad it to %d with newlines",
		confPath, d.confSize, sectorSize)
}

// readBlocked finds out whether variables can be kept and the firmware comes back to the loader, where nothing else is
// in the way.
func (l *Loader) readBlocked(d *disk, variables bool) error {
	switch writable, _ := l.vars.(interface{ Writable() error }); {
	case d.state.Blocked != nil:
	case !variables:
		if l.Trial != Counting {
			d.state.Blocked = fmt.Errorf("%w: there are none on this machine, or efivarfs is not mounted (a trial by "+
				"%s needs none)", bootloader.ErrNoVariables, Counting)
		}
		if l.Cmdline != "" { // else nothing runs, as on a disk image
			d.warn("The firmware's variables cannot be read, so the running slot is known only from the kernel " +
				"command line, and a UKI has its own, which names none.")
		}
	case l.Trial != Counting && writable != nil && writable.Writable() != nil:
		d.state.Blocked = fmt.Errorf("%w (a trial by %s needs none)", kept(writable.Writable()), Counting)
	default:
		d.state.Blocked = l.foreignArmed()
	}
	if d.state.Blocked != nil || d.fresh {
		return nil
	}
	order, err := l.survey()
	if err != nil {
		d.state.Blocked = err
		return nil
	}
	for _, text := range order.Unknown {
		d.warn("%s", text)
	}
	for _, n := range order.Dead {
		d.warn("%s is an entry of ours that starts nothing: no disk has its partition; the next upgrade removes it.",
			l.describe(n))
	}
	if d.direct && order.Starts == 0 {
		return nil // the option that started this boot says nothing of BootOrder, which was judged before it was tried
	}
	if l.Trial == Counting {
		d.warn(countingRisks)
		if order.Starts < 2 {
			d.warn(comesBackByHand)
		}
	}
	if !variables {
		return nil
	}
	if d.state.Blocked = order.Refuse(false); d.state.Blocked == nil && order.Guessed != "" && l.Trial == BootNext {
		d.state.Blocked = fmt.Errorf("%s started this boot and cannot be read, so a trial by %s, which comes another "+
			"way, would not know it for our loader and could arm no further try; delete that variable, or try by %s: %w",
			order.Guessed, BootNext, OneShot, bootloader.ErrForeign)
	}
	if d.state.Blocked == nil && order.Lost != nil {
		d.state.Blocked = fmt.Errorf("a trial could not come back, because the loader cannot be found: %w "+
			"(`installer loader` puts it back)", order.Lost)
	}
	return nil
}

// foreignArmed is ErrForeign when another program set what boots next.
func (l *Loader) foreignArmed() error {
	if _, foreign, err := l.nextSlot(); err != nil || foreign != nil {
		return errors.Join(err, foreign)
	}
	once, set, err := l.text(oneShot)
	switch s := slotOf(once); {
	case errors.Is(err, efivar.ErrFormat):
		return fmt.Errorf("%w; delete that variable (%s): %w", err, deletes[oneShot], bootloader.ErrForeign)
	case err != nil, !set, s != bootloader.None && strings.EqualFold(once, entryID(s)):
		return err
	}
	return fmt.Errorf("%s is set to %s; boot once, or delete that variable (%s): %w", oneShot, short(once),
		deletes[oneShot], bootloader.ErrForeign)
}

// armedByUs is the slot that LoaderEntryOneShot names; None when it is not set, or is nobody's.
func (l *Loader) armedByUs() (bootloader.Slot, error) {
	once, set, err := l.text(oneShot)
	if err != nil && !errors.Is(err, efivar.ErrFormat) {
		return bootloader.None, err
	}
	if s := slotOf(once); set && s != bootloader.None && strings.EqualFold(once, entryID(s)) {
		return s, nil
	}
	return bootloader.None, nil
}
