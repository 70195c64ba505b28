// Package bootorder knows which entries of the firmware's BootOrder start a disk's loader, makes those that are
// missing, and replaces the loader's file while the firmware has another copy of it to go on to.
//
// Start with Order.Survey and Order.Ensure, and with Order.Replace. It guarantees that the order of entries that are
// not ours stays, that nothing is removed but entries that were made here for a partition that is gone, and that a
// variable is written only where it changes. What counts as a start, and why, is written down in
// docs/decisions/0002-boot-order.md; how a loader is replaced, in 0008-loader.md.
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

// Order is the firmware's order of boot options, seen from one boot file system. All fields but Gone are required.
type Order struct {
	Vars      efivar.Store
	FS        *bootfs.FS
	Partition efivar.HardDrive // of the boot file system
	Loader    string           // the file that firmware starts, as it spells it: `\EFI\BOOT\BOOTX64.EFI`
	Title     string           // what our own entries are called
	Ours      bool             // this boot's loader was started from our partition
	// Gone reports whether no disk of this machine has a partition: then an entry of ours for it starts nothing. nil:
	// not known.
	Gone func(efivar.HardDrive) bool
}

// inDefault reports whether a path is where firmware looks for a loader without being told one.
func inDefault(path string) bool {
	return len(path) > len(defaultDir) && strings.EqualFold(path[:len(defaultDir)], defaultDir)
}

var defaultDir = Spell(bootloader.LoaderDir) + `\`

// inSlot reports whether a path is in a slot's directory, whose files come and go.
func (b Order) inSlot(path string) bool {
	return slices.ContainsFunc(bootloader.Slots(), func(s bootloader.Slot) bool {
		dir := Spell(s.Dir()) + `\`
		return len(path) > len(dir) && strings.EqualFold(path[:len(dir)], dir)
	})
}

// starts reports whether an option names our loader on our partition, whatever its spelling.
func (b Order) starts(o efivar.LoadOption) bool {
	drive, path, short, ok := o.Target()
	return ok && short && o.Tried() && b.here(drive) && strings.EqualFold(path, b.Loader)
}

// here reports whether a node names our partition. Firmware compares number and GUID.
func (b Order) here(drive efivar.HardDrive) bool {
	return drive.GUID == b.Partition.GUID && drive.Number == b.Partition.Number
}

// slashes is a path of the firmware as the boot file system has it.
func slashes(path string) string { return strings.ReplaceAll(path, "\\", "/") }

// Option reads boot option n; [fs.ErrNotExist] when there is none.
func Option(vars efivar.Store, n uint16) (efivar.LoadOption, error) {
	v, err := vars.Read(efivar.Boot(n))
	if err != nil {
		return efivar.LoadOption{}, err
	}
	o, err := efivar.DecodeLoadOption(v.Data)
	if err != nil {
		return efivar.LoadOption{}, fmt.Errorf("%s: %w", efivar.Boot(n).Name, err)
	}
	return o, nil
}

// Describe names a boot option for people: Boot0001 "UEFI Misc Device".
func Describe(vars efivar.Store, n uint16) string {
	if o, err := Option(vars, n); err == nil {
		title := []rune(strings.ToValidUTF8(o.Description, "\uFFFD"))
		return fmt.Sprintf("%s %q", efivar.Boot(n).Name, string(title[:min(len(title), 64)]))
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
