package sdboot

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
	ours    kind = iota // starts our loader
	skipped             // firmware passes over it: inactive, not of the boot category, without a variable, its file gone
	device              // names no file: what is on the device is not known; it may be nothing
	foreign             // starts something else
)

// survey is what BootOrder says of the next boots (docs/decisions/0002-boot-order.md).
type survey struct {
	numbers []uint16
	kinds   []kind
	names   []string // for people
	first   int      // position of the first start of our loader; -1 when there is none
	end     int      // position behind the last of the starts in a row
	starts  int      // starts in a row
	current int      // position of the entry that started this boot; -1 when it is not in BootOrder or not known
	isOurs  bool     // this boot's loader was started from our partition
}

// survey reads BootOrder and its entries.
func (l *Loader) survey() (survey, error) {
	s := survey{first: -1, current: -1}
	v, err := l.vars.Read(efivar.Global("BootOrder"))
	if err != nil && !missing(err) {
		return survey{}, err
	}
	if err == nil {
		if s.numbers, err = efivar.DecodeNumbers(v.Data); err != nil {
			return survey{}, fmt.Errorf("BootOrder: %w", err)
		}
	}
	n, set, err := l.current()
	if err != nil {
		return survey{}, fmt.Errorf("BootCurrent: %w", err)
	}
	if set {
		s.current = slices.Index(s.numbers, n)
	}
	uuid, _, err := l.text(devicePartUUID)
	if err != nil {
		return survey{}, err
	}
	s.isOurs = strings.EqualFold(uuid, l.Partition.GUID.String())
	loader, err := l.loaderPath()
	if err != nil {
		return survey{}, err
	}
	for i, n := range s.numbers {
		k, err := l.kind(n, loader)
		if err != nil {
			return survey{}, err
		}
		if i == s.current && s.isOurs && k != skipped {
			k = ours
		}
		s.kinds = append(s.kinds, k)
		s.names = append(s.names, l.describe(n))
	}
	s.first = slices.Index(s.kinds, ours)
	if s.first < 0 {
		return s, nil
	}
	for i := s.first; i < len(s.kinds) && (s.kinds[i] == ours || s.kinds[i] == skipped); i++ {
		if s.kinds[i] == ours {
			s.starts++
			s.end = i + 1
		}
	}
	return s, nil
}

// kind judges one entry by itself.
func (l *Loader) kind(n uint16, loader string) (kind, error) {
	o, err := l.option(n)
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
	if l.starts(o, loader) {
		return ours, nil
	}
	if drive, path, ok := o.File(); ok && drive.GUID == l.Partition.GUID && drive.Number == l.Partition.Number {
		_, err := l.FS.Stat(strings.ReplaceAll(path, "\\", "/"))
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
func (l *Loader) starts(o efivar.LoadOption, loader string) bool {
	drive, path, ok := o.File()
	return ok && o.Tried() && drive.GUID == l.Partition.GUID && drive.Number == l.Partition.Number && strings.EqualFold(path, loader)
}

// refuse is why a trial cannot be counted on to come back, nil when it can once enough starts are there. On an install
// nothing of ours is running yet, and the place for the entries can always be found.
func (s survey) refuse(install bool) error {
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
func (s survey) place() int {
	if s.first >= 0 {
		return s.end
	}
	return s.current + 1
}

// ensureStarts sees to it that firmware starts the loader at least want times in a row.
//
//  1. each missing Boot####. A cut: an entry that BootOrder does not name, which firmware ignores; the next run uses it.
//  2. BootOrder with them inserted; the order of all others stays. A cut: the old order or the new one.
func (l *Loader) ensureStarts(want int, install bool) error {
	s, err := l.survey()
	if err != nil {
		return err
	}
	if err := s.refuse(install); err != nil {
		return err
	}
	if s.starts >= want {
		return nil
	}
	loader, err := l.loaderPath()
	if err != nil {
		return err
	}
	names, err := l.vars.List()
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
		if o, err := l.option(n); err == nil && l.starts(o, loader) {
			spare = append(spare, n)
		}
	}
	var insert []uint16
	for i := s.starts; i < want; i++ {
		if len(spare) > 0 {
			insert, spare = append(insert, spare[0]), spare[1:]
			continue
		}
		n, err := lowestFree(used)
		if err != nil {
			return err
		}
		data, err := l.ownOption(i, loader).Encode()
		if err != nil {
			return err
		}
		if err := l.vars.Write(efivar.Boot(n), efivar.Variable{Attributes: efivar.Kept, Data: data}); err != nil {
			return kept(err)
		}
		insert, used = append(insert, n), append(used, n)
	}
	order := slices.Insert(slices.Clone(s.numbers), s.place(), insert...)
	if err := l.vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeNumbers(order...)}); err != nil {
		return kept(err)
	}
	return nil
}

// ownOption is the entry for the start of that number, from 0. Descriptions differ because some firmware drops entries
// that are the same in all.
func (l *Loader) ownOption(start int, loader string) efivar.LoadOption {
	title := l.Title
	if start > 0 {
		title = fmt.Sprintf("%s (start %d)", l.Title, start+1)
	}
	return efivar.LoadOption{
		Attributes:  efivar.Active,
		Description: title,
		Path:        []efivar.Node{l.Partition.Node(), efivar.FilePath(loader), efivar.End()},
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

func (l *Loader) option(n uint16) (efivar.LoadOption, error) {
	v, err := l.vars.Read(efivar.Boot(n))
	if err != nil {
		return efivar.LoadOption{}, err
	}
	return efivar.DecodeLoadOption(v.Data)
}

// describe names a boot option for people: Boot0001 "UEFI Misc Device".
func (l *Loader) describe(n uint16) string {
	if o, err := l.option(n); err == nil {
		return fmt.Sprintf("%s %q", efivar.Boot(n).Name, o.Description)
	}
	return efivar.Boot(n).Name
}

// loaderPath is where the loader lies, as firmware spells it.
func (l *Loader) loaderPath() (string, error) {
	for _, n := range loaderNames {
		_, err := l.FS.Stat("EFI/BOOT/" + n.name)
		if err == nil {
			return `\EFI\BOOT\` + n.name, nil
		}
		if !missing(err) {
			return "", err
		}
	}
	return "", fmt.Errorf("no loader in EFI/BOOT: %w", bootloader.ErrNotFound)
}
