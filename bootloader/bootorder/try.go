package bootorder

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Try has firmware start the copy of the loader at path (one of Copies) once, at the next start, and go on through
// BootOrder where it cannot. What it boots is what the loader in its usual place would. Another program's BootNext is
// left: ErrForeign.
//
//  1. the spare entry names the copy: see Spare. A cut: the usual loader.
//  2. BootNext names that entry; read back. A cut before: the usual loader; after: the copy, once, then the usual
//     loader.
func (b Order) Try(path string) error {
	if _, err := b.nextCopy(); err != nil {
		return err
	}
	n, err := b.spare(path)
	if err != nil {
		return err
	}
	name, want := efivar.Global("BootNext"), efivar.Variable{Attributes: efivar.Kept, Data: efivar.EncodeNumbers(n)}
	if err := b.Vars.Write(name, want); err != nil {
		return kept(err)
	}
	if err := b.holds(name, want); err != nil {
		return errors.Join(err, b.Vars.Delete(name)) // Untry would not know that it is ours
	}
	return nil
}

// Tried says what became of a Try of the copy at path.
func (b Order) Tried(path string) (bootloader.Tried, error) {
	var t bootloader.Tried
	next, err := b.nextCopy()
	if err != nil {
		return t, err
	}
	t.Waits = strings.EqualFold(next, path)
	n, set, err := Current(b.Vars)
	switch {
	case err != nil:
		return t, fmt.Errorf("BootCurrent: %w", err)
	case !set:
		return t, nil
	}
	t.By = Describe(b.Vars, n)
	if o, err := Option(b.Vars, n); err == nil && b.isCopy(o) {
		t.Came = b.Ours && strings.EqualFold(b.copyOf(o), path)
	}
	return t, nil
}

// Untry takes a Try back, and reads back that it is gone. With none, or with a BootNext that starts no copy, it writes
// nothing.
func (b Order) Untry() error {
	name := efivar.Global("BootNext")
	if ours, err := NextIsCopy(b.Vars, b.Partition); err != nil || !ours {
		return err
	}
	if err := b.Vars.Delete(name); err != nil {
		return fmt.Errorf("take back that the firmware starts a copy of the loader next: %w", kept(err))
	}
	if v, err := b.Vars.Read(name); !missing(err) {
		if err != nil {
			return fmt.Errorf("read back BootNext: %w", err)
		}
		return fmt.Errorf("read back BootNext: it holds %x still: %w", v.Data, bootloader.ErrNoVariables)
	}
	return nil
}

// NextIsCopy reports whether BootNext starts a copy of the loader on that partition: then it decides nothing of what
// boots. No BootNext, or one that cannot be understood, is none.
func NextIsCopy(vars efivar.Store, partition efivar.HardDrive) (bool, error) {
	v, err := vars.Read(efivar.Global("BootNext"))
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := efivar.DecodeNumber(v.Data)
	if err != nil {
		return false, nil
	}
	o, err := Option(vars, n)
	return err == nil && Order{Partition: partition}.isCopy(o), nil
}

// nextCopy is the copy that BootNext starts, as firmware spells it; "" without a BootNext. Any other is ErrForeign.
func (b Order) nextCopy() (path string, err error) {
	v, err := b.Vars.Read(efivar.Global("BootNext"))
	if missing(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	n, err := efivar.DecodeNumber(v.Data)
	if err != nil {
		return "", fmt.Errorf("BootNext holds %x; delete that variable (efibootmgr --delete-bootnext): %w", v.Data,
			bootloader.ErrForeign)
	}
	if o, err := Option(b.Vars, n); err == nil && b.isCopy(o) {
		return b.copyOf(o), nil
	}
	return "", fmt.Errorf("BootNext is set to %s; boot once, or delete that variable (efibootmgr --delete-bootnext): "+
		"%w", Describe(b.Vars, n), bootloader.ErrForeign)
}
