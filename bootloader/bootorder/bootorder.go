// Package bootorder knows which entries of the firmware's BootOrder start a disk's loader, makes those that are missing, and
// replaces the loader's file while the firmware has another copy of it to go on to.
//
// Start with Order.Survey and Order.Ensure, and with Order.Replace. It guarantees that the order of entries that are not ours
// stays, that nothing is removed, and that a variable is written only where it changes. What counts as a start, and why, is
// written down in docs/decisions/0002-boot-order.md; how a loader is replaced, in 0008-loader.md.
//
// It does not know what a loader does once it was started, nor which loader is the better one.
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
	Lost   error // why firmware does not find the loader, as a cut while it is replaced may leave it; nil when it does
	Starts int   // of our loader in a row, from the first on
	Files  int   // entries among and directly behind them that name partition and file of the loader or of a copy: those that we made, and not the firmware's own for a disk

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
	if _, err := b.FS.Stat(slashes(b.Loader)); err != nil {
		s.Lost = err
	}
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
	for i := s.first; i < len(s.kinds); i++ {
		if o, err := Option(b.Vars, s.numbers[i]); err == nil && (b.starts(o) || b.isCopy(o)) {
			s.Files++ // also where a cut has left no file
		} else if s.kinds[i] != ours && s.kinds[i] != skipped {
			break
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
	if b.onOurs(o) {
		_, path, _ := o.File()
		switch _, err := b.FS.Stat(slashes(path)); {
		case err != nil: // it is not there, or a cut has damaged what leads to it: firmware finds it no more than we do
			return skipped, nil
		case b.starts(o):
			return ours, nil
		}
		return foreign, nil
	}
	for _, node := range o.First() {
		// A file on a volume (4, 4), or in the firmware's own flash (4, 6).
		if node.Type == 4 && (node.Subtype == 4 || node.Subtype == 6) {
			return foreign, nil
		}
	}
	return device, nil
}

// starts reports whether an option names our loader on our partition.
func (b Order) starts(o efivar.LoadOption) bool {
	_, path, _ := o.File()
	return o.Tried() && b.onOurs(o) && strings.EqualFold(path, b.Loader)
}

// onOurs reports whether an option names a file on our partition. Firmware compares number and GUID.
func (b Order) onOurs(o efivar.LoadOption) bool {
	drive, _, ok := o.File()
	return ok && drive.GUID == b.Partition.GUID && drive.Number == b.Partition.Number
}

// slashes is a path of the firmware as the boot file system has it.
func slashes(path string) string { return strings.ReplaceAll(path, "\\", "/") }

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
