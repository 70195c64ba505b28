package grub

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// Confirm implements [bootloader.Bootloader].
//
//  1. the older copy of the default, or the destroyed one, names s with a higher serial: one sector. A cut before, or a
//     sector destroyed or torn: the old default, which the other copy names; after: s.
//  2. trial.env names no slot: one sector. A cut: s, since no slot is on trial that is the default.
//  3. the other copy names s too: one sector. A cut, also with the sector destroyed: s, by the first copy.
//
// Without step 3 a copy that goes bad later would bring the old default back.
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
	if !d.bootable[s] {
		return errors.New("the slot is not prepared")
	}
	if _, err := l.complete(s); err != nil {
		return err
	}
	commit, rest := l.standings(d, s)
	if err := commit(); err != nil {
		return err
	}
	if err := l.setTrial(trial{canary: d.trial.canary}); err != nil {
		return fmt.Errorf("it is the default now; disarm: %w", err)
	}
	if err := rest(); err != nil {
		return fmt.Errorf("it is the default now; second copy: %w", err)
	}
	return nil
}
