package grub

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// Arm implements [bootloader.Bootloader]. GRUB counts from tries, 1 to [MaxTries], down to 0.
//
//  1. trial.env names s: one sector, read back. A cut before: the default; after: the trial, then the default.
//     Destroyed: the default.
func (l *Loader) Arm(s bootloader.Slot, tries int) error {
	if err := l.arm(s, tries); err != nil {
		return fmt.Errorf("arm slot %v: %w", s, err)
	}
	return nil
}

func (l *Loader) arm(s bootloader.Slot, tries int) error {
	d, err := l.target(s)
	if err != nil {
		return err
	}
	if err := bootloader.CheckTries(tries, MaxTries); err != nil {
		return err
	}
	switch {
	case d.state.Blocked != nil:
		return d.state.Blocked
	case d.state.Default == bootloader.None:
		return errors.New("there is no default to fall back to; confirm a slot first")
	case d.named() != d.state.Default:
		return fmt.Errorf("neither copy of the default names slot %v; prepare the slot again", d.state.Default)
	case !d.bootable[s]:
		return errors.New("the slot is not prepared")
	}
	for _, slot := range bootloader.Slots() {
		if _, err := l.complete(slot); err != nil {
			return err
		}
	}
	if err := l.Untry(); err != nil {
		return err
	}
	return l.setTrial(trial{slot: s, tries: tries, canary: d.trial.canary})
}

// setTrial writes trial.env and reads it back.
func (l *Loader) setTrial(t trial) error {
	want := encodeTrial(t)
	if err := l.FS.Overwrite(trialPath, want); err != nil {
		return err
	}
	got, err := l.FS.ReadFile(trialPath)
	if err != nil {
		return fmt.Errorf("read back %s: %w", trialPath, err)
	}
	if string(got) != string(want) {
		return fmt.Errorf("read back %s: it holds something else; the device does not keep what is written to it",
			trialPath)
	}
	return nil
}

// Disarm implements [bootloader.Bootloader].
//
//  1. trial.env names no slot: one sector, read back. A cut before: the trial; after, or destroyed: the default.
//
// A BootNext that starts a copy of GRUB (Try) goes before: it decides nothing.
func (l *Loader) Disarm() error {
	if err := l.disarm(); err != nil {
		return fmt.Errorf("disarm: %w", err)
	}
	return nil
}

func (l *Loader) disarm() error {
	if err := l.foreign(); errors.Is(err, bootloader.ErrForeign) {
		return err
	}
	if err := l.Untry(); err != nil {
		return err
	}
	d, err := l.read()
	if err != nil {
		return err
	}
	return l.setTrial(trial{canary: d.trial.canary})
}
