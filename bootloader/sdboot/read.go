package sdboot

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// disk is everything that was read for one operation.
type disk struct {
	state     bootloader.State
	conf      conf
	confWhole bool // loader.conf is as we write it
	confSize  int  // bytes
	fresh     bool // an install that was not confirmed yet: loader.conf is whole and names no default
	entries   map[bootloader.Slot]slotEntry
	overrule  error    // what decides instead of loader.conf, when it is not ours
	blocked   error    // why Arm would be refused
	remove    []string // variables that name a slot, and that loader.conf is to be obeyed without
	loader    probed
	counted   []counted
	byOrder   bool // nothing names what boots, so the order of the entries decides
	direct    bool // the firmware started the running slot's UKI by itself
}

// read reads the boot file system, the variables and the command line. It writes nothing.
func (l *Loader) read() (disk, error) {
	d := disk{entries: map[bootloader.Slot]slotEntry{}}
	data, err := l.sector(confPath, &d)
	if missing(err) {
		return disk{}, fmt.Errorf("%s: %w", confPath, bootloader.ErrNotFound)
	}
	if err != nil {
		return disk{}, fmt.Errorf("read %s: %w", confPath, err)
	}
	d.confSize = len(data)
	d.conf, d.confWhole = decodeConf(data)
	d.fresh = d.confWhole && d.conf.defaultID == ""
	l.probe(&d)
	d.state.Loader = d.loader.String()
	for _, s := range bootloader.Slots() {
		e, err := l.readEntry(s, &d)
		if err != nil {
			return disk{}, err
		}
		d.entries[s] = e
		if e.bootable {
			d.state.Bootable = append(d.state.Bootable, s)
		}
	}
	if err := l.readCounted(&d); err != nil {
		return disk{}, err
	}
	if err := l.readDefault(&d); err != nil {
		return disk{}, err
	}
	if d.state.Active, d.direct, err = l.active(&d); err != nil {
		return disk{}, err
	}
	if err := l.readArmed(&d); err != nil {
		return disk{}, err
	}
	if d.state.Blocked == nil {
		d.state.Blocked = d.loader.offers(l.needs())
	}
	return d, nil
}

// sector reads a file that is overwritten in place. A power cut can leave its one sector unreadable until it is written
// again; the loader then takes it as a file without a line, and so does this.
func (l *Loader) sector(path string, d *disk) ([]byte, error) {
	data, err := l.FS.ReadFile(path)
	if err == nil || missing(err) {
		return data, err
	}
	if info, stat := l.FS.Stat(path); stat != nil || info.Size != sectorSize {
		return nil, err
	}
	d.warn("%s cannot be read: %v", path, err)
	return make([]byte, sectorSize), nil
}

func (l *Loader) readEntry(s bootloader.Slot, d *disk) (slotEntry, error) {
	data, err := l.sector(entryPath(s), d)
	if missing(err) {
		return slotEntry{}, fmt.Errorf("%s: %w", entryPath(s), bootloader.ErrNotFound)
	}
	if err != nil {
		return slotEntry{}, fmt.Errorf("read %s: %w", entryPath(s), err)
	}
	e, ok := decodeEntry(data)
	if e.edited = len(data) != sectorSize; e.edited {
		d.warn("%s was edited: it has %d bytes and cannot be overwritten in place; pad it to %d with newlines.",
			entryPath(s), len(data), sectorSize)
	}
	switch hidden := e.hidden(l.machineName(), d.loader); {
	case !ok && len(strings.Trim(string(data), "\n")) > 0:
		d.warn("%s is damaged; slot %v is not bootable.", entryPath(s), s)
	case !ok:
	case !e.ofSlot(s):
		d.warn("%s starts %s and not a file of its slot; it is taken as not bootable.", entryPath(s),
			strings.Join(e.files(), " with "))
	case hidden != "":
		d.warn("%s %s, which passes it over: slot %v is not bootable; an upgrade or a confirm writes it anew.",
			entryPath(s), hidden, s)
	default:
		e.bootable = true
		for _, path := range e.files() {
			_, err := l.FS.Stat(cleanPath(path))
			if err != nil && !missing(err) {
				return slotEntry{}, err
			}
			if missing(err) {
				e.bootable = false
				d.warn("%s starts %s, which is not there.", entryPath(s), path)
			}
		}
		if e.bootable && e.sortKey == "" {
			d.warn("%s was edited: it has no sort-key; confirm writes it.", entryPath(s))
		}
	}
	return e, nil
}

// readDefault finds the slot that boots when nothing is armed, as systemd-boot would: the variables that outrank
// loader.conf, loader.conf, the order of the entries.
func (l *Loader) readDefault(d *disk) error {
	if s, found, err := l.readOutranking(d); err != nil || found {
		d.state.Default = s
		return err
	}
	named := d.conf.slot()
	switch {
	case d.fresh:
		return nil
	case named != bootloader.None && d.entries[named].bootable && !d.conf.counts:
		d.state.Default = named
		return nil
	case d.confWhole && named == bootloader.None, !d.confWhole && l.names(d.conf.defaultID):
		d.overrule = errors.Join(d.overrule,
			fmt.Errorf("loader.conf names %q as the default, which is not ours; confirm the running slot: %w",
				d.conf.defaultID, bootloader.ErrForeign))
		if s, found, err := l.picks(d, d.conf.defaultID); err != nil || found {
			d.state.Default = s
			return err
		}
	}
	// Damaged, or what it names is not there: the first in order boots.
	stranger, err := l.stranger(d, "*")
	if err != nil {
		return err
	}
	if stranger != "" {
		d.overrule = errors.Join(d.overrule,
			fmt.Errorf("loader.conf is damaged or names a slot that is not bootable, and %s may come first; "+
				"confirm the running slot: %w", stranger, bootloader.ErrForeign))
		return nil
	}
	d.state.Default, d.byOrder = d.first(), true
	if d.conf.counts && d.state.Default == named {
		return nil
	}
	d.warn("loader.conf is damaged or names a slot that is not bootable; the order of the entries decides.")
	return nil
}

// first is the bootable slot that sorts first. With equal keys the version would decide, which is not compared here:
// None.
func (d *disk) first() bootloader.Slot {
	a, b := d.entries[bootloader.A], d.entries[bootloader.B]
	switch {
	case a.bootable && (!b.bootable || a.order() < b.order()):
		return bootloader.A
	case b.bootable && (!a.bootable || b.order() < a.order()):
		return bootloader.B
	}
	return bootloader.None
}

// comesBackByHand is what a trial by Counting cannot do without variables.
const comesBackByHand = "The firmware is not known to start the loader twice in a row: a version that does not load " +
	"leaves the machine in the firmware until its power is cycled, once for each try."

// countingRisks is what such a trial puts at risk: see the package comment.
const countingRisks = "The loader counts in the directory of the default's entry: a power cut that destroys a block " +
	"of it meanwhile leaves nothing that boots."

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
			d.state.Armed, d.state.ArmedBy, d.state.Tries = next, "BootNext", 1
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

// block notes why Arm would be refused; the first reason stays.
func (d *disk) block(err error) {
	if d.blocked == nil {
		d.blocked = err
	}
}

func (d *disk) warn(format string, args ...any) {
	d.state.Warnings = append(d.state.Warnings, fmt.Sprintf(format, args...))
}
