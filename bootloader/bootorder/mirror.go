package bootorder

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// mirrorTitle is what the entry for a second boot file system is called.
func mirrorTitle(title string) string { return title + " (second boot file system)" }

// Mirror sees to it that firmware starts the loader of the mirror, a second boot file system on the partition at, once
// it could start none of ours: its entry is behind our starts and the spare loader, with nothing between them that
// could stay. There is one such entry. One that somebody has put elsewhere in BootOrder is moved with move, and else
// left.
//
//  1. its Boot####. A cut: the starts before it are as they were.
//  2. BootOrder. A cut: the old order or the new one.
//
// Both are read back.
func (b Order) Mirror(at efivar.HardDrive, move bool) error {
	if err := b.Reliable(); err != nil {
		return err
	}
	s, err := b.Survey()
	if err != nil {
		return err
	}
	n, err := b.number(s, b.isMirror)
	if err != nil {
		return err
	}
	option := b.named(mirrorTitle(b.Title), b.Loader)
	option.Path[0] = at.Node()
	data, err := option.Encode()
	if err != nil {
		return err
	}
	if v, err := b.Vars.Read(efivar.Boot(n)); err != nil || string(v.Data) != string(data) {
		if err := b.write(efivar.Boot(n), data); err != nil {
			return err
		}
	}
	if slices.Contains(s.numbers, n) && !move || b.leadsTo(s, n) {
		return nil
	}
	var order []uint16
	for i, number := range s.numbers {
		if i == b.lastOwn(s)+1 {
			order = append(order, n)
		}
		if number != n {
			order = append(order, number)
		}
	}
	if !slices.Contains(order, n) {
		order = append(order, n)
	}
	return b.write(efivar.Global("BootOrder"), efivar.EncodeNumbers(order...))
}

// Mirrored says why firmware would not start the loader of the mirror at that partition where it can start none of
// ours; nil when it would.
func (b Order) Mirrored(at efivar.HardDrive) error {
	s, err := b.Survey()
	if err != nil {
		return err
	}
	for _, n := range s.numbers {
		o, err := Option(b.Vars, n)
		if err != nil || !b.isMirror(o) {
			continue
		}
		switch drive, _, _, _ := o.Target(); {
		case drive.GUID != at.GUID || drive.Number != at.Number:
			return fmt.Errorf("%s is for another partition", Describe(b.Vars, n))
		case !o.Tried():
			return fmt.Errorf("%s is not active", Describe(b.Vars, n))
		case !b.leadsTo(s, n):
			return fmt.Errorf("%s is not directly behind the starts of our loader in BootOrder", Describe(b.Vars, n))
		}
		return nil
	}
	return fmt.Errorf("BootOrder has no entry for it: %w", bootloader.ErrNotFound)
}

// ForgetMirror removes the entry for a mirror.
//
//  1. from BootOrder. A cut: an entry that firmware ignores.
//  2. its Boot####.
func (b Order) ForgetMirror() error {
	s, err := b.Survey()
	if err != nil {
		return err
	}
	names, err := b.Vars.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		n, is := name.BootNumber()
		if !is {
			continue
		}
		if o, err := Option(b.Vars, n); err != nil || !b.isMirror(o) {
			continue
		}
		if slices.Contains(s.numbers, n) {
			s.numbers = slices.DeleteFunc(s.numbers, func(other uint16) bool { return other == n })
			if err := b.write(efivar.Global("BootOrder"), efivar.EncodeNumbers(s.numbers...)); err != nil {
				return err
			}
		}
		if err := b.Vars.Delete(name); err != nil {
			return kept(err)
		}
	}
	return nil
}

// isMirror reports whether an option is one that Mirror made.
func (b Order) isMirror(o efivar.LoadOption) bool {
	drive, path, short, ok := o.Target()
	return ok && short && o.Description == mirrorTitle(b.Title) && !b.here(drive) && strings.EqualFold(path, b.Loader)
}

// lastOwn is the position of the last entry of the starts in a row, or of the copy of the loader that follows them.
func (b Order) lastOwn(s Survey) int {
	last := s.end - 1
	for i := s.end; i < len(s.numbers); i++ {
		o, err := Option(b.Vars, s.numbers[i])
		if err == nil && b.isCopy(o) {
			last = i
		} else if s.kinds[i] != skipped {
			break
		}
	}
	return last
}

// leadsTo reports whether firmware gets from our starts and the copy to option n without anything between that could
// stay.
func (b Order) leadsTo(s Survey, n uint16) bool {
	at := slices.Index(s.numbers, n)
	last := b.lastOwn(s)
	if s.first < 0 || at <= last {
		return false
	}
	return !slices.ContainsFunc(s.kinds[last+1:at], func(k kind) bool { return k != skipped })
}
