// Package bootorder knows which entries of the firmware's BootOrder start a disk's loader, and makes those that are missing.
//
// Start with Order.Survey and Order.Ensure. It guarantees that the order of entries that are not ours stays, that nothing is
// removed, and that a variable is written only where it changes. What counts as a start, and why, is written down in
// docs/decisions/0002-boot-order.md.
//
// It does not know what a loader does once it was started.
//
// Specification: UEFI 2.10, section 3.
package bootorder

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Order is the firmware's order of boot options, seen from one boot file system. All fields are required.
type Order struct {
	Vars      efivar.Store
	FS        *bootfs.FS
	Partition efivar.HardDrive // of the boot file system
	Loader    string           // the file that firmware starts, as it spells it: `\EFI\BOOT\BOOTX64.EFI`
	Title     string           // what our own entries are called
	Ours      bool             // this boot's loader was started from our partition
}

// kind is what an entry of BootOrder means for the next boot.
type kind int

const (
	ours    kind = iota // starts our loader
	skipped             // firmware passes over it: inactive, not of the boot category, without a variable, its file gone
	device              // names no file: what is on the device is not known; it may be nothing
	foreign             // starts something else
)

// Survey is what BootOrder says of the next boots.
type Survey struct {
	Starts int // of our loader in a row, from the first on

	numbers []uint16
	kinds   []kind
	names   []string // for people
	first   int      // position of the first start of our loader; -1 when there is none
	end     int      // position behind the last of the starts in a row
	current int      // position of the entry that started this boot; -1 when it is not in BootOrder or not known
}

// Survey reads BootOrder and its entries.
func (b Order) Survey() (Survey, error) {
	s := Survey{first: -1, current: -1}
	v, err := b.Vars.Read(efivar.Global("BootOrder"))
	if err != nil && !missing(err) {
		return Survey{}, err
	}
	if err == nil {
		if s.numbers, err = efivar.DecodeNumbers(v.Data); err != nil {
			return Survey{}, fmt.Errorf("BootOrder: %w", err)
		}
	}
	n, set, err := Current(b.Vars)
	if err != nil {
		return Survey{}, fmt.Errorf("BootCurrent: %w", err)
	}
	if set {
		s.current = slices.Index(s.numbers, n)
	}
	for i, n := range s.numbers {
		k, err := b.kind(n)
		if err != nil {
			return Survey{}, err
		}
		if i == s.current && b.Ours && k != skipped {
			k = ours
		}
		s.kinds = append(s.kinds, k)
		s.names = append(s.names, Describe(b.Vars, n))
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
	return s, nil
}

// kind judges one entry by itself.
func (b Order) kind(n uint16) (kind, error) {
	o, err := Option(b.Vars, n)
	switch {
	case missing(err):
		return skipped, nil
	case errors.Is(err, efivar.ErrFormat):
		return foreign, nil
	case err != nil:
		return 0, err
	case !o.Tried():
		return skipped, nil
	}
	if b.starts(o) {
		return ours, nil
	}
	if drive, path, ok := o.File(); ok && drive.GUID == b.Partition.GUID && drive.Number == b.Partition.Number {
		_, err := b.FS.Stat(strings.ReplaceAll(path, "\\", "/"))
		if missing(err) {
			return skipped, nil
		}
		return foreign, err
	}
	for _, node := range o.First() {
		// A file on a volume (4, 4), or in the firmware's own flash (4, 6).
		if node.Type == 4 && (node.Subtype == 4 || node.Subtype == 6) {
			return foreign, nil
		}
	}
	return device, nil
}

// starts reports whether an option names our loader on our partition. Firmware compares number and GUID.
func (b Order) starts(o efivar.LoadOption) bool {
	drive, path, ok := o.File()
	return ok && o.Tried() && drive.GUID == b.Partition.GUID && drive.Number == b.Partition.Number && strings.EqualFold(path, b.Loader)
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
			return fmt.Errorf("%s started this boot, and it is not our loader: %w", s.names[s.current], bootloader.ErrForeign)
		}
		return fmt.Errorf("nothing in BootOrder is known to start our loader, and this boot was not started from it; "+
			"boot once without BootNext and without the firmware's menu: %w", bootloader.ErrForeign)
	}
	for i, k := range s.kinds[:s.first] {
		if k == foreign || i == s.current && k == device {
			return fmt.Errorf("%s comes before our loader in BootOrder; deactivate it (efibootmgr --inactive) or put it behind: %w", s.names[i], bootloader.ErrForeign)
		}
	}
	return nil
}

// place is where in BootOrder missing starts go: behind those that are there; without any behind the entry that started
// this boot (an installer's medium); without that in front.
func (s Survey) place() int {
	if s.first >= 0 {
		return s.end
	}
	return s.current + 1
}

// Ensure sees to it that firmware starts the loader at least want times in a row.
//
//  1. each missing Boot####. A cut: an entry that BootOrder does not name, which firmware ignores; the next run uses it.
//  2. BootOrder with them inserted; the order of all others stays. A cut: the old order or the new one.
func (b Order) Ensure(want int, install bool) error {
	s, err := b.Survey()
	if err != nil {
		return err
	}
	if err := s.Refuse(install); err != nil {
		return err
	}
	if s.Starts >= want {
		return nil
	}
	names, err := b.Vars.List()
	if err != nil {
		return err
	}
	used := slices.Clone(s.numbers)
	var spare []uint16 // ours, and not in BootOrder
	for _, name := range names {
		n, ok := name.BootNumber()
		if !ok || slices.Contains(s.numbers, n) {
			continue
		}
		used = append(used, n)
		if o, err := Option(b.Vars, n); err == nil && b.starts(o) {
			spare = append(spare, n)
		}
	}
	var insert []uint16
	for i := s.Starts; i < want; i++ {
		if len(spare) > 0 {
			insert, spare = append(insert, spare[0]), spare[1:]
			continue
		}
		n, err := lowestFree(used)
		if err != nil {
			return err
		}
		data, err := b.ownOption(i).Encode()
		if err != nil {
			return err
		}
		if err := b.Vars.Write(efivar.Boot(n), efivar.Variable{Attributes: efivar.Kept, Data: data}); err != nil {
			return kept(err)
		}
		insert, used = append(insert, n), append(used, n)
	}
	order := slices.Insert(slices.Clone(s.numbers), s.place(), insert...)
	if err := b.Vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeNumbers(order...)}); err != nil {
		return kept(err)
	}
	return nil
}

// ownOption is the entry for the start of that number, from 0. Descriptions differ because some firmware drops entries
// that are the same in all.
func (b Order) ownOption(start int) efivar.LoadOption {
	title := b.Title
	if start > 0 {
		title = fmt.Sprintf("%s (start %d)", b.Title, start+1)
	}
	return efivar.LoadOption{
		Attributes:  efivar.Active,
		Description: title,
		Path:        []efivar.Node{b.Partition.Node(), efivar.FilePath(b.Loader), efivar.End()},
	}
}

func lowestFree(used []uint16) (uint16, error) {
	for n := 0; n <= 0xffff; n++ {
		if !slices.Contains(used, uint16(n)) {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("all boot option numbers are taken: %w", bootloader.ErrNoVariables)
}

// Option reads boot option n; fs.ErrNotExist when there is none.
func Option(vars efivar.Store, n uint16) (efivar.LoadOption, error) {
	v, err := vars.Read(efivar.Boot(n))
	if err != nil {
		return efivar.LoadOption{}, err
	}
	return efivar.DecodeLoadOption(v.Data)
}

// Describe names a boot option for people: Boot0001 "UEFI Misc Device".
func Describe(vars efivar.Store, n uint16) string {
	if o, err := Option(vars, n); err == nil {
		return fmt.Sprintf("%s %q", efivar.Boot(n).Name, o.Description)
	}
	return efivar.Boot(n).Name
}

// Current is the number of the boot option that started this boot, if the firmware says.
func Current(vars efivar.Store) (n uint16, set bool, err error) {
	v, err := vars.Read(efivar.Global("BootCurrent"))
	if missing(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	n, err = efivar.DecodeNumber(v.Data)
	return n, err == nil, err
}

// kept turns the store's way of saying that variables cannot be kept into the interface's.
func kept(err error) error {
	if errors.Is(err, efivar.ErrNotKept) {
		return fmt.Errorf("%w: %w", bootloader.ErrNoVariables, err)
	}
	return err
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
