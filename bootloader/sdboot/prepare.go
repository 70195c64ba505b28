package sdboot

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// Withdraw implements [bootloader.Bootloader].
//
//  1. loader.conf, where it was destroyed, leaves the choice to the order, or names another slot than the one that
//     boots by itself: one sector. A cut: the default boots, by its name or by the order of the entries; or what was
//     armed. Then LoaderEntryPreferred and LoaderEntryDefault are deleted, where they name a slot. A cut: the default.
//  2. entries that count become empty: one sector each. A cut: the default, which loader.conf names.
//  3. the slot's entry becomes empty: one sector. A cut: the default boots; a destroyed entry is no entry.
func (l *Loader) Withdraw(s bootloader.Slot) error {
	d, err := l.target(s)
	if err == nil {
		err = l.settle(d)
	}
	if err == nil {
		err = l.releaseCounted(d)
	}
	if err == nil {
		err = l.FS.Overwrite(entryPath(s), empty())
	}
	if err != nil {
		return fmt.Errorf("withdraw slot %v: %w", s, err)
	}
	return nil
}

// Prepare implements [bootloader.Bootloader]. On an install, firmware variables that cannot be kept are no error: the
// loader lies where firmware finds it without them; State says so in Blocked.
//
//  1. loader.conf, as in Withdraw. A cut: the default.
//  2. missing starts of the loader: each Boot####, then BootOrder. A cut: the default; an entry that BootOrder does not
//     name yet is used by the next run.
//  3. with Config.Trial BootNext, a boot option for the slot's UKI, which BootOrder does not name. A cut: the default.
//  4. entries that count become empty; with Config.Trial Counting one gets the name that counts from tries, which takes
//     a directory and a table. A cut: the default.
//  5. the slot's entry, sorted behind the default's: one sector. A cut: the default, which loader.conf names.
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
	key := untriedKey
	if d.state.Default != bootloader.None {
		key = behind(d.entries[d.state.Default].sortKey)
	}
	sector, err := l.entry(s, held, key)
	if err != nil {
		return err
	}
	if l.Trial == BootNext && !d.fresh && !held.Holds(bootloader.UKIFile) {
		return fmt.Errorf("the firmware can start a UKI by itself, and the slot has none (try it by %s): %w", OneShot,
			errors.ErrUnsupported)
	}
	if err := l.settle(d); err != nil {
		return err
	}
	err = l.ensureStarts(l.starts(tries), d.fresh)
	if without := d.fresh || l.Trial == Counting; err != nil &&
		!(without && errors.Is(err, bootloader.ErrNoVariables)) {
		return err
	}
	if l.Trial == BootNext && !d.fresh { // an install is not tried
		if err := l.ensureDirect(s); err != nil {
			return err
		}
	}
	if err := l.releaseCounted(d); err != nil {
		return err
	}
	if l.Trial == Counting && !d.fresh {
		if err := l.ensureCounted(d, s, tries); err != nil {
			return err
		}
	}
	return l.FS.Overwrite(entryPath(s), sector)
}

// entry is the sector of a slot's entry.
func (l *Loader) entry(s bootloader.Slot, held bootloader.Manifest, key string) ([]byte, error) {
	options := ""
	if !held.Holds(bootloader.UKIFile) {
		var err error
		if options, err = l.arguments(s); err != nil {
			return nil, err
		}
	}
	return encodeEntry(entryFor(s, held, l.Title, key, options))
}

// complete reads the manifest of a slot that is complete, and that systemd-boot could start.
func (l *Loader) complete(s bootloader.Slot) (bootloader.Manifest, error) {
	m, err := bootloader.ReadSlot(l.FS, s)
	if err != nil {
		return bootloader.Manifest{}, fmt.Errorf("slot %v is not complete: %w", s, err)
	}
	if !m.Holds(bootloader.UKIFile) && !(m.Holds(bootloader.KernelFile) && m.Holds(bootloader.InitrdFile)) {
		return bootloader.Manifest{}, fmt.Errorf("slot %v has neither %s nor %s with %s: %w",
			s, bootloader.UKIFile, bootloader.KernelFile, bootloader.InitrdFile, errors.ErrUnsupported)
	}
	return m, nil
}
