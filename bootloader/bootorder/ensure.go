package bootorder

import (
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

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
//  1. each missing Boot####. A cut: an entry that BootOrder does not name, which firmware ignores; the next run uses
//     it.
//  2. BootOrder with them inserted, and without entries of ours that start nothing; the order of all others stays. A
//     cut: the old order or the new one.
//  3. the Boot#### of those go. A cut: entries that BootOrder does not name; the next run removes them.
func (b Order) Ensure(want int, install bool) error {
	s, err := b.Survey()
	if err != nil {
		return err
	}
	if err := s.Refuse(install); err != nil {
		return err
	}
	return b.insert(s, want-s.Starts)
}

// EnsureFile sees to it that one of the starts in a row is an entry of our own, which names partition and file: the
// firmware's own entry for a disk is made anew, behind everything else, when the disk gets another name. Steps and cuts
// are those of Ensure.
func (b Order) EnsureFile() error {
	s, err := b.Survey()
	if err != nil {
		return err
	}
	if err := s.Refuse(false); err != nil {
		return err
	}
	return b.insert(s, 1-s.Files)
}

// insert makes so many starts more, and removes what is dead.
func (b Order) insert(s Survey, n int) error {
	if n <= 0 && len(s.Dead) == 0 {
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
	for i := s.Starts; i < s.Starts+n; i++ {
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
		if err := b.write(efivar.Boot(n), data); err != nil {
			return err
		}
		insert, used = append(insert, n), append(used, n)
	}
	order := slices.Insert(slices.Clone(s.numbers), s.place(), insert...)
	order = slices.DeleteFunc(order, func(n uint16) bool { return slices.Contains(s.Dead, n) })
	if len(order) > 0 {
		if err := b.write(efivar.Global("BootOrder"), efivar.EncodeNumbers(order...)); err != nil {
			return err
		}
	} else if err := b.Vars.Delete(efivar.Global("BootOrder")); err != nil {
		return kept(err)
	}
	for _, n := range s.Dead {
		if err := b.Vars.Delete(efivar.Boot(n)); err != nil {
			return fmt.Errorf("remove an entry that starts nothing: %w", kept(err))
		}
	}
	return nil
}

// write writes a variable and reads it back: some firmware says that it has changed one, and has not.
func (b Order) write(name efivar.Name, data []byte) error {
	want := efivar.Variable{Attributes: efivar.Kept, Data: data}
	if err := b.Vars.Write(name, want); err != nil {
		return kept(err)
	}
	return b.holds(name, want)
}

// holds reads a variable back.
func (b Order) holds(name efivar.Name, want efivar.Variable) error {
	switch back, err := b.Vars.Read(name); {
	case err != nil:
		return fmt.Errorf("read back %s: %w: %w", name.Name, err, bootloader.ErrNoVariables)
	case !back.Equal(want):
		return fmt.Errorf("read back %s: it holds %x: %w", name.Name, back.Bytes(), bootloader.ErrNoVariables)
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
	return b.named(title, b.Loader)
}

func (b Order) named(title, path string) efivar.LoadOption {
	return efivar.LoadOption{
		Attributes:  efivar.Active,
		Description: title,
		Path:        []efivar.Node{b.Partition.Node(), efivar.FilePath(path), efivar.End()},
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
