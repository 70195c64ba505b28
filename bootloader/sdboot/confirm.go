package sdboot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Confirm implements [bootloader.Bootloader]. It writes variables only where one stands in the way, so a machine that
// cannot keep variables confirms as well.
//
//  0. the entry of s, only where Disarm had to empty it: one sector, behind that of the default. A cut: the default, or
//     what is armed and cannot be taken back.
//  1. loader.conf names s: one sector. A cut before: the old default; after: s. While the sector is being written it
//     may be destroyed: then the order of the entries decides, for the old default; or for what is armed to be counted.
//  2. LoaderEntryPreferred and LoaderEntryDefault, when there are any: deleted, since they outrank loader.conf. A cut
//     before: what the first of them names.
//  3. LoaderEntryOneShot and BootNext, when they are ours: deleted. A cut before: what it names, once, then s.
//  4. entries that count become empty: one sector each. A cut: s, which loader.conf names.
//  5. the entry of s gets the first sort key: one sector. A cut: s. Destroyed: the other slot, which is complete and
//     was confirmed before.
//  6. the other entry gets the last sort key: one sector. A cut: s, and so with the sector destroyed.
//
// An entry that another program has made longer or shorter than a sector keeps its key: State warns of it.
//
// Neither key is written before step 1, because until then s is not confirmed and must sort last. Between 5 and 6 both
// keys are first; both slots are complete, and Prepare puts the next target behind whatever key the default has, so the
// entry of a default is never rewritten to make room for a target.
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
	if !d.entries[s].bootable && (s != d.state.Active || d.state.Default == bootloader.None) {
		return errors.New("the slot is not prepared")
	}
	held, err := l.complete(s)
	if err != nil {
		return err
	}
	if err := d.confLength(); err != nil {
		return err
	}
	if !d.entries[s].bootable {
		sector, err := l.entry(s, held, behind(d.entries[d.state.Default].sortKey))
		if err == nil {
			err = l.FS.Overwrite(entryPath(s), sector)
		}
		if err != nil {
			return err
		}
		if d, err = l.read(); err != nil {
			return err
		}
	}
	// What cannot be read either way was no such variable when the trial was armed, and what names no entry changes
	// nothing.
	outranks := func(name string) bool {
		named, _, unread := l.text(name)
		return unread == nil && !strings.EqualFold(named, entryID(s)) && (slotOf(named) != bootloader.None ||
			l.names(named))
	}
	if w, ok := l.vars.(interface{ Writable() error }); ok && slices.ContainsFunc(outranking, outranks) {
		if err := w.Writable(); err != nil {
			return fmt.Errorf("a variable that outranks loader.conf cannot be deleted: %w", kept(err))
		}
	}
	if err := l.FS.Overwrite(confPath, encodeConf(conf{defaultID: entryID(s), timeout: l.Timeout,
		enroll: d.conf.enroll})); err != nil {
		return err
	}
	for _, name := range outranking {
		matters := outranks(name)
		if err := l.clear(efivar.Loader(name)); err != nil && matters {
			named, _, _ := l.text(name)
			return fmt.Errorf("loader.conf names it now, but %s is %s and outranks it (delete it: %s): %w", name,
				short(named), deletes[name], err)
		}
	}
	if err := l.release(s); err != nil {
		return fmt.Errorf("it is the default now, but %w", err)
	}
	if err := l.releaseCounted(d); err != nil {
		return fmt.Errorf("it is the default now; %w", err)
	}
	for _, step := range []struct {
		slot bootloader.Slot
		key  string
	}{{s, provenKey}, {s.Other(), untriedKey}} {
		e := d.entries[step.slot]
		if !e.bootable || e.sortKey == step.key || e.edited {
			continue
		}
		sector, err := l.resorted(step.slot, e, step.key)
		if err == nil {
			err = l.FS.Overwrite(entryPath(step.slot), sector)
		}
		if err != nil {
			return fmt.Errorf("it is the default now; sort key of slot %v: %w", step.slot, err)
		}
	}
	return nil
}

// resorted is the sector of an entry with another sort key. What others took out of it is written again.
func (l *Loader) resorted(s bootloader.Slot, e slotEntry, key string) ([]byte, error) {
	if e.title != "" && e.version != "" {
		e.sortKey = key
		return encodeEntry(e)
	}
	held, err := l.complete(s)
	if err != nil {
		return nil, err
	}
	return l.entry(s, held, key)
}
