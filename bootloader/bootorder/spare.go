package bootorder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Copies are the places of other copies of a loader, one in each slot's directory, as firmware spells them.
func Copies() (paths []string) {
	for _, s := range bootloader.Slots() {
		paths = append(paths, Spell(s.File(bootloader.LoaderFile)))
	}
	return paths
}

// spareTitle is what the entry for such a copy is called.
func spareTitle(title string) string { return title + " (spare loader)" }

// Spell is how firmware spells a path of the boot file system.
func Spell(path string) string { return `\` + strings.ReplaceAll(path, "/", `\`) }

// Reliable says why this firmware cannot be relied on to go on to another copy of the loader, nil when it can: its
// variables can be kept, and one of the starts in a row is an entry of our own. Such an entry is made by a machine's
// first boot (EnsureFile), or by the upgrade before a trial (Ensure), so it has been seen to outlive a restart.
func (b Order) Reliable() error {
	names, err := b.Vars.List()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: there are none on this machine, or efivarfs is not mounted", bootloader.ErrNoVariables)
	}
	if w, ok := b.Vars.(interface{ Writable() error }); ok {
		if err := w.Writable(); err != nil {
			return kept(err)
		}
	}
	s, err := b.Survey()
	if err != nil {
		return err
	}
	if err := s.Refuse(false); err != nil {
		return err
	}
	if s.Files == 0 {
		return errors.New("the firmware's boot order has no entry of ours yet, which this boot adds; restart once")
	}
	return nil
}

// Spare sees to it that firmware, where it cannot load the loader, starts the copy at path: one of Copies, and where it
// starts a shim, by the shim beside the copy. There is one such entry; it is written anew when it names the other
// slot's copy.
//
//  1. its Boot####. A cut: the starts before it are as they were.
//  2. BootOrder, with it directly behind the starts in a row. A cut: the old order or the new one.
//
// Both are read back.
func (b Order) Spare(path string) error {
	_, err := b.spare(path)
	return err
}

// spare is Spare, and returns the number of that entry.
func (b Order) spare(path string) (n uint16, err error) {
	if err := b.Reliable(); err != nil {
		return 0, err
	}
	s, err := b.Survey()
	if err != nil {
		return 0, err
	}
	if n, err = b.number(s, b.isCopy); err != nil {
		return 0, err
	}
	option, err := b.toCopy(path)
	if err != nil {
		return 0, err
	}
	data, err := option.Encode()
	if err != nil {
		return 0, err
	}
	want := efivar.Variable{Attributes: efivar.Kept, Data: data}
	if err := b.Vars.Write(efivar.Boot(n), want); err != nil {
		return 0, kept(err)
	}
	if !s.reaches(n) {
		var order []uint16
		for i, number := range s.numbers {
			if i == s.end {
				order = append(order, n)
			}
			if number != n {
				order = append(order, number)
			}
		}
		if s.end == len(s.numbers) {
			order = append(order, n)
		}
		if err := b.Vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept,
			Data: efivar.EncodeNumbers(order...)}); err != nil {
			return 0, kept(err)
		}
	}
	back, err := b.Vars.Read(efivar.Boot(n))
	if err != nil {
		return 0, fmt.Errorf("read back %s: %w", efivar.Boot(n).Name, err)
	}
	if s, err = b.Survey(); err != nil {
		return 0, err
	}
	if !back.Equal(want) || !s.reaches(n) {
		return 0, fmt.Errorf("read back %s and BootOrder: the spare loader is not where it was put: %w",
			efivar.Boot(n).Name, bootloader.ErrNoVariables)
	}
	return n, nil
}

// reaches reports whether firmware gets from the starts in a row to option n without anything between them that could
// stay.
func (s Survey) reaches(n uint16) bool {
	if s.first < 0 {
		return false
	}
	for i := s.first; i < len(s.numbers); i++ {
		switch {
		case s.numbers[i] == n:
			return true
		case s.kinds[i] != ours && s.kinds[i] != skipped:
			return false
		}
	}
	return false
}

// number is that of the option that is meant, or a free one.
func (b Order) number(s Survey, meant func(efivar.LoadOption) bool) (uint16, error) {
	names, err := b.Vars.List()
	if err != nil {
		return 0, err
	}
	used, found := slices.Clone(s.numbers), []uint16{}
	for _, name := range names {
		n, ok := name.BootNumber()
		if !ok {
			continue
		}
		used = append(used, n)
		if o, err := Option(b.Vars, n); err == nil && meant(o) {
			found = append(found, n)
		}
	}
	for _, n := range s.numbers { // rather one that is in use
		if slices.Contains(found, n) {
			return n, nil
		}
	}
	if len(found) > 0 {
		return found[0], nil
	}
	return lowestFree(used)
}

func (b Order) isCopy(o efivar.LoadOption) bool { return b.copyOf(o) != "" }
