package sdboot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
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

// block notes why Arm would be refused; the first reason stays.
func (d *disk) block(err error) {
	if d.blocked == nil {
		d.blocked = err
	}
}

func (d *disk) warn(format string, args ...any) {
	d.state.Warnings = append(d.state.Warnings, fmt.Sprintf(format, args...))
}
