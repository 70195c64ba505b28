package sdboot

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
)

// countedKey sorts a counted entry in front of every other.
const countedKey = "!"

// counted is a file in loader/entries whose name counts the boots of its slot: pawl-b+3-0.conf, then pawl-b+2-1.conf,
// ... The loader renames it before each boot; with none left it sorts last. It is an entry while it is filled, and else
// is kept for its name.
type counted struct {
	slot       bootloader.Slot
	left, done int
	name       string // in loader/entries
	filled     bool
}

func countedName(s bootloader.Slot, left int) string {
	return strings.TrimSuffix(entryID(s), ".conf") + fmt.Sprintf("+%d-0.conf", left)
}

func parseCounted(name string) (c counted, ok bool) {
	stem, hasSuffix := strings.CutSuffix(strings.ToLower(name), ".conf")
	stem, counter, hasCounter := strings.Cut(stem, "+")
	left, done, both := strings.Cut(counter, "-")
	c.slot, c.name = slotOf(stem+".conf"), name
	var err1, err2 error
	c.left, err1 = strconv.Atoi(left)
	if both {
		c.done, err2 = strconv.Atoi(done)
	}
	ok = hasSuffix && hasCounter && c.slot != bootloader.None && err1 == nil && err2 == nil && c.left >= 0 &&
		c.done >= 0
	return c, ok
}

// readCounted finds the counted entries, and whether one of them is armed: it is first in order while it has tries
// left, and loader.conf leaves the choice to the order.
func (l *Loader) readCounted(d *disk) error {
	files, err := l.FS.ReadDir(entriesDir)
	if err != nil && !missing(err) {
		return fmt.Errorf("read %s: %w", entriesDir, err)
	}
	for _, f := range files {
		c, ok := parseCounted(f.Name)
		if !ok {
			continue
		}
		if f.Size != sectorSize {
			d.warn("%s/%s is not ours: it has %d bytes.", entriesDir, f.Name, f.Size)
			continue
		}
		data, err := l.sector(entriesDir+"/"+f.Name, d)
		if err != nil {
			return fmt.Errorf("read %s/%s: %w", entriesDir, f.Name, err)
		}
		e, whole := decodeEntry(data)
		c.filled = whole && e.ofSlot(c.slot) && e.hidden(l.machineName(), d.loader) == "" && d.entries[c.slot].bootable
		d.counted = append(d.counted, c)
	}
	return nil
}

// inTurn is the counted entry that boots next, when nothing is named; nil when there is none.
func (d *disk) inTurn() *counted {
	if !d.byOrder {
		return nil
	}
	for i, c := range d.counted {
		if c.filled && c.left > 0 {
			return &d.counted[i]
		}
	}
	return nil
}

// ensureCounted sees to it that there is a file whose name counts tries boots of slot s, kept for its name. loader.conf
// names the default meanwhile, so neither it nor an older one is chosen.
func (l *Loader) ensureCounted(d disk, s bootloader.Slot, tries int) error {
	there := false
	for _, c := range d.counted {
		if c.name == countedName(s, tries) {
			there = true
			continue
		}
		if err := l.FS.Remove(entriesDir + "/" + c.name); err != nil {
			return fmt.Errorf("remove an older count: %w", err)
		}
	}
	if there {
		return nil
	}
	return l.FS.WriteFile(entriesDir+"/"+countedName(s, tries), empty())
}

// commitCounted is Arm's part for Counting.
func (l *Loader) commitCounted(d disk, s bootloader.Slot, tries int) error {
	if err := l.countable(d); err != nil {
		return err
	}
	if c := d.inTurn(); c == nil || c.name != countedName(s, tries) { // else it is armed like that already
		if err := l.settle(d); err != nil {
			return err
		}
		if err := l.ensureCounted(d, s, tries); err != nil {
			return err
		}
	}
	e := d.entries[s]
	e.sortKey = countedKey
	if e.efi != "" { // from 258 on, boots are counted of what is named by the key linux or uki; by 257 linux alone is known
		e.linux, e.efi = e.efi, ""
	}
	sector, err := encodeEntry(e)
	if err != nil {
		return err
	}
	path := entriesDir + "/" + countedName(s, tries)
	if err := l.FS.Overwrite(path, sector); err != nil {
		return err
	}
	want := encodeConf(conf{defaultID: entryID(d.state.Default), counts: true, timeout: l.Timeout,
		enroll: d.conf.enroll})
	if err := l.FS.Overwrite(confPath, want); err != nil {
		return err
	}
	for name, wrote := range map[string][]byte{path: sector, confPath: want} {
		if back, err := l.FS.ReadFile(name); err != nil || string(back) != string(wrote) {
			return errors.Join(err, fmt.Errorf("read back %s: it holds something else; the device does not keep what "+
				"is written to it", name))
		}
	}
	return nil
}

// countable is why the order of the entries would not be what decides.
func (l *Loader) countable(d disk) error {
	for _, name := range outranking {
		if named, set, err := l.text(name); err != nil || set {
			return errors.Join(err, fmt.Errorf("%s is %s, and would be booted in place of a counted entry; delete "+
				"that variable (%s): %w",
				name, short(named), deletes[name], bootloader.ErrForeign))
		}
	}
	if stranger, err := l.stranger(&d, "*"); err != nil || stranger != "" {
		return errors.Join(err, fmt.Errorf("%s may come before a counted entry; remove it, or try by another way: %w",
			stranger, bootloader.ErrForeign))
	}
	return nil
}

// releaseCounted makes the counted entries none, by one sector each. loader.conf names the default already.
func (l *Loader) releaseCounted(d disk) error {
	for _, c := range d.counted {
		if err := l.FS.Overwrite(entriesDir+"/"+c.name, empty()); err != nil {
			return fmt.Errorf("empty %s: %w", c.name, err)
		}
	}
	return nil
}
