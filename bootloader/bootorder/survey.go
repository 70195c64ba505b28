package bootorder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// kind is what an entry of BootOrder means for the next boot.
type kind int

const (
	ours kind = iota // starts our loader
	// firmware passes over it: inactive, not of the boot category, without a variable, its file gone
	skipped
	device  // names no file: what is on the device is not known; it may be nothing
	foreign // starts something else, or will once a slot is written
	unread  // cannot be read, so what it starts is not known
)

// Survey is what BootOrder says of the next boots.
type Survey struct {
	Unknown []string // what cannot be read and may not matter, one sentence each
	// why firmware does not find the loader, as a cut while it is replaced may leave it; nil when it does
	Lost   error
	Starts int      // of our loader in a row, from the first on
	Dead   []uint16 // entries of ours that start nothing, in BootOrder or not; Ensure and EnsureFile remove them
	// entries among and directly behind them that name partition and file of the loader or of a copy: those that we
	// made, and not the firmware's own for a disk
	Files int
	// the entry that started this boot, where nothing but that says that it starts our loader, because it cannot be
	// read: a boot that comes another way does not know it; "" when there is none
	Guessed string

	numbers []uint16
	kinds   []kind
	names   []string // for people
	first   int      // position of the first start of our loader; -1 when there is none
	end     int      // position behind the last of the starts in a row
	current int      // position of the entry that started this boot; -1 when it is not in BootOrder or not known
}

// Survey reads BootOrder and its entries. A BootCurrent that cannot be read is one that the firmware does not tell, and
// is in Unknown; so is an entry, which matters only where it comes before our loader.
func (b Order) Survey() (Survey, error) {
	s := Survey{first: -1, current: -1}
	if _, err := b.FS.Stat(slashes(b.Loader)); err != nil {
		s.Lost = err
	}
	v, err := b.Vars.Read(efivar.Global("BootOrder"))
	if err != nil && !missing(err) {
		return Survey{}, err
	}
	if err == nil {
		if s.numbers, err = efivar.DecodeNumbers(v.Data); err != nil {
			return Survey{}, fmt.Errorf("BootOrder: %w (delete that variable; firmware makes it anew, and so does an "+
				"upgrade)", err)
		}
	}
	n, set, err := Current(b.Vars)
	switch {
	case err != nil:
		s.Unknown = append(s.Unknown, fmt.Sprintf("Which boot option started this boot is not known: BootCurrent: %v.",
			err))
	case set:
		s.current = slices.Index(s.numbers, n)
	}
	for i, n := range s.numbers {
		k, err := b.kind(n)
		if err != nil {
			s.Unknown = append(s.Unknown, fmt.Sprintf("What %s starts is not known: %v.", efivar.Boot(n).Name, err))
		}
		if i == s.current && b.Ours && k != skipped {
			if k == unread {
				s.Guessed = Describe(b.Vars, n)
			}
			k = ours
		}
		s.kinds = append(s.kinds, k)
		s.names = append(s.names, Describe(b.Vars, n))
	}
	if err := b.bury(&s, n, set); err != nil {
		return Survey{}, err
	}
	s.first = slices.Index(s.kinds, ours)
	if s.first < 0 {
		return s, nil
	}
	for i := s.first; i < len(s.kinds) && (s.kinds[i] == ours || s.kinds[i] == skipped); i++ {
		if s.kinds[i] == ours {
			s.Starts++
			s.end = i + 1
		}
	}
	for i := s.first; i < len(s.kinds); i++ {
		if o, err := Option(b.Vars, s.numbers[i]); err == nil && (b.starts(o) || b.isCopy(o)) {
			s.Files++ // also where a cut has left no file
		} else if s.kinds[i] != ours && s.kinds[i] != skipped {
			break
		}
	}
	return s, nil
}

// kind judges one entry by itself. The error says why one is unread, or what is odd about one that firmware passes
// over.
func (b Order) kind(n uint16) (kind, error) {
	o, err := Option(b.Vars, n)
	switch {
	case missing(err):
		return skipped, nil
	case errors.Is(err, efivar.ErrFormat): // nothing that firmware could start
		return skipped, err
	case err != nil:
		return unread, err
	case !o.Tried():
		return skipped, nil
	}
	drive, path, short, ok := o.Target()
	switch {
	case !ok:
		inFlash := func(node efivar.Node) bool { return node.Type == 4 && node.Subtype == 6 }
		if slices.ContainsFunc(o.First(), inFlash) {
			return foreign, nil
		}
		return device, nil
	case drive == efivar.HardDrive{}: // on whatever volume the firmware finds first
		if strings.EqualFold(path, b.Loader) {
			return device, nil
		}
		return foreign, nil
	case !b.here(drive):
		return foreign, nil
	case b.inSlot(path): // it may not be there yet
		return foreign, nil
	case path == "":
		path = b.Loader
	}
	_, err = b.FS.Stat(slashes(path))
	switch {
	case err != nil: // it is not there, or a cut has damaged what leads to it: firmware finds it no more than we do
		return skipped, nil
	case !strings.EqualFold(path, b.Loader):
		return foreign, nil
	case !short: // it is ours while the disk is where it was
		return device, nil
	}
	return ours, nil
}

// bury finds the entries of ours that start nothing: for a partition that no disk has any more. One that started this
// boot is none.
func (b Order) bury(s *Survey, current uint16, known bool) error {
	names, err := b.Vars.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		n, ok := name.BootNumber()
		if !ok || known && n == current {
			continue
		}
		if o, err := Option(b.Vars, n); err != nil || !b.dead(o) {
			continue // what cannot be read is not ours to remove
		}
		s.Dead = append(s.Dead, n)
		for i, number := range s.numbers {
			if number == n {
				s.kinds[i] = skipped
			}
		}
	}
	return nil
}

// dead reports whether an option is one that we made, for a partition that is gone.
func (b Order) dead(o efivar.LoadOption) bool {
	drive, path, short, ok := o.Target()
	if !ok || !short || path == "" || len(o.Optional) > 0 && copyNamed(path, o.Optional) == "" || len(o.First()) != 2 {
		return false
	}
	title, ofStart := strings.CutPrefix(o.Description, b.Title+" (start ")
	var made bool
	switch {
	case ofStart:
		made = strings.Trim(title, "0123456789") == ")" && inDefault(path)
	case o.Description == b.Title:
		made = inDefault(path)
	case o.Description == spareTitle(b.Title), strings.HasPrefix(o.Description, b.Title+", slot "):
		made = b.inSlot(path)
	}
	switch {
	case !made || b.here(drive):
		return false
	case drive.GUID == b.Partition.GUID: // firmware compares the number too
		return true
	}
	return b.Gone != nil && b.Gone(drive)
}

// Refuse is why a trial cannot be counted on to come back, nil when it can once enough starts are there. On an install
// nothing of ours is running yet, and the place for the entries can always be found.
func (s Survey) Refuse(install bool) error {
	if install {
		return nil
	}
	if s.first < 0 {
		switch {
		case !slices.ContainsFunc(s.kinds, func(k kind) bool { return k != skipped }):
			return nil // nothing in the way, and Prepare makes all
		case s.current >= 0:
			return fmt.Errorf("%s started this boot, and it is not our loader: %w", s.names[s.current],
				bootloader.ErrForeign)
		}
		return fmt.Errorf("nothing in BootOrder is known to start our loader, and this boot was not started from it; "+
			"boot once without BootNext and without the firmware's menu: %w%s", bootloader.ErrForeign,
			strings.Join(append([]string{""}, s.Unknown...), " "))
	}
	for i, k := range s.kinds[:s.first] {
		if k == unread {
			return fmt.Errorf("%s comes before our loader in BootOrder, and what it starts is not known, because it "+
				"cannot be read; "+
				"delete that variable, or put it behind (efibootmgr --bootorder): %w", s.names[i],
				bootloader.ErrForeign)
		}
		if k == foreign || i == s.current && k == device {
			return fmt.Errorf("%s comes before our loader in BootOrder; deactivate it (efibootmgr --inactive) or put "+
				"it behind: %w", s.names[i], bootloader.ErrForeign)
		}
	}
	return nil
}
