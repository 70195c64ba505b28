package grub

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
)

// Withdraw implements [bootloader.Bootloader].
//
//  1. both copies of the default, only where damage left them naming another slot than the one that boots by itself. A
//     cut: that slot, by its copy or because it is the only one that may boot.
//  2. the slot's switch: one sector. A cut: the default; a destroyed switch is off.
func (l *Loader) Withdraw(s bootloader.Slot) error {
	d, err := l.target(s)
	if err == nil {
		err = l.settle(d)
	}
	if err == nil {
		err = l.FS.Overwrite(switchPath(s), encodeSwitch(s, false))
	}
	if err != nil {
		return fmt.Errorf("withdraw slot %v: %w", s, err)
	}
	return nil
}

// Prepare implements [bootloader.Bootloader].
//
//  1. the copies of the default, as in Withdraw. A cut: the default.
//  2. the slot's args.cfg, in its own directory, old or new. A cut: the default.
//  3. the slot's switch: one sector. A cut: the default, which its copies name.
func (l *Loader) Prepare(s bootloader.Slot, m bootloader.Manifest, tries int) error {
	if err := l.prepare(s, m, tries); err != nil {
		return fmt.Errorf("prepare slot %v: %w", s, err)
	}
	return nil
}

func (l *Loader) prepare(s bootloader.Slot, m bootloader.Manifest, tries int) error {
	d, err := l.target(s)
	if err != nil {
		return err
	}
	if err := bootloader.CheckTries(tries, MaxTries); err != nil {
		return err
	}
	held, err := l.complete(s)
	if err != nil {
		return err
	}
	if held.Image != m.Image || held.Version != m.Version {
		return fmt.Errorf("the slot holds version %s (%s), not %s (%s)", held.Version, held.Image, m.Version, m.Image)
	}
	args, err := l.script(s)
	if err != nil {
		return err
	}
	if err := l.settle(d); err != nil {
		return err
	}
	if old, err := l.FS.ReadFile(argsPath(s)); err != nil || string(old) != string(args) {
		if err := l.FS.WriteFile(argsPath(s), args); err != nil {
			return err
		}
	}
	return l.FS.Overwrite(switchPath(s), encodeSwitch(s, true))
}

// complete reads the manifest of a slot that is complete, and that GRUB could start.
func (l *Loader) complete(s bootloader.Slot) (bootloader.Manifest, error) {
	m, err := bootloader.ReadSlot(l.FS, s)
	if err != nil {
		return bootloader.Manifest{}, fmt.Errorf("slot %v is not complete: %w", s, err)
	}
	for _, name := range []string{bootloader.KernelFile, bootloader.InitrdFile} {
		if !m.Holds(name) {
			return bootloader.Manifest{},
				fmt.Errorf("slot %v has no %s, and GRUB starts a kernel with an initramfs: %w", s, name,
					errors.ErrUnsupported)
		}
	}
	return m, nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
