package sdboot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
)

var (
	_ bootloader.Replacer        = (*Loader)(nil)
	_ bootloader.Repairer        = (*Loader)(nil)
	_ bootloader.WayChooser      = (*Loader)(nil)
	_ bootloader.ArgumentChecker = (*Loader)(nil)
)

// InWholeDisk implements [bootloader.Replacer].
func (l *Loader) InWholeDisk() bool { return false }

// Compare implements [bootloader.Replacer]. Versions are those that the images state.
func (l *Loader) Compare(s bootloader.Slot) (bootloader.Comparison, error) {
	c, _, err := l.compare(s)
	if err != nil {
		return c, fmt.Errorf("compare the loader with that of slot %v: %w", s, err)
	}
	return c, nil
}

func (l *Loader) compare(s bootloader.Slot) (c bootloader.Comparison, own []byte, err error) {
	order, err := l.order()
	if err != nil {
		return c, nil, err
	}
	place, err := order.Place()
	if err != nil {
		return c, nil, err
	}
	installed, err := bootorder.Read(l.FS, place)
	version := ""
	if err != nil {
		c.Installed = fmt.Sprintf("nothing that can be read (%v)", err)
		_, err := l.FS.Stat(place)
		c.Missing = err != nil
	} else {
		sum := sha256.Sum256(installed)
		c.Digest = hex.EncodeToString(sum[:])
		c.Missing = !bootorder.IsProgram(installed)
		version, err = Version(bytes.NewReader(installed), int64(len(installed)))
		switch {
		case bootorder.IsShim(installed):
			c.Installed = "a shim"
		case err != nil:
			c.Installed = "not known (" + err.Error() + ")"
		default:
			c.Installed = "systemd-boot " + version
		}
	}
	own, ownVersion, err := l.own(s)
	if err != nil || own == nil {
		return c, nil, err
	}
	c.Own = "systemd-boot " + ownVersion
	c.Missing = c.Missing || order.Lost()
	c.Same = c.Digest != "" && !c.Missing && string(own) == string(installed)
	c.Older = version != "" && compareVersions(ownVersion, version) < 0
	c.Unsafe = order.Unsafe(s, own)
	return c, own, nil
}

// own reads the loader of a slot; nil where it holds none. What is no systemd-boot is an error.
func (l *Loader) own(s bootloader.Slot) (own []byte, version string, err error) {
	own, err = bootorder.Read(l.FS, s.File(bootloader.LoaderFile))
	if missing(err) {
		return nil, "", nil
	}
	if err == nil {
		version, err = Version(bytes.NewReader(own), int64(len(own)))
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", s.File(bootloader.LoaderFile), err)
	}
	return own, version, nil
}

// Fits implements [bootloader.Replacer].
func (l *Loader) Fits(s bootloader.Slot, arch string) error {
	own, _, err := l.own(s)
	if err == nil && own != nil {
		err = bootorder.For(own, arch)
	}
	if err != nil {
		return fmt.Errorf("the loader in slot %v: %w", s, err)
	}
	return nil
}

// Replace implements [bootloader.Replacer]. What it writes, and what boots after each cut, is said at
// [bootorder.Order.Replace].
func (l *Loader) Replace(s bootloader.Slot, o bootloader.ReplaceOptions) error {
	if err := l.replace(s, o); err != nil {
		return fmt.Errorf("replace the loader: %w", err)
	}
	return nil
}

func (l *Loader) replace(s bootloader.Slot, o bootloader.ReplaceOptions) error {
	d, err := l.read()
	switch {
	case err != nil:
		return err
	case d.state.Default != s:
		return fmt.Errorf("slot %v is not the default", s)
	case d.state.Armed != bootloader.None:
		return fmt.Errorf("slot %v is armed", d.state.Armed)
	}
	c, own, err := l.compare(s)
	if err != nil || own == nil {
		return err
	}
	order, err := l.order()
	if err != nil {
		return err
	}
	switch {
	case c.Same && !(o.Force && errors.Is(c.Unsafe, bootloader.ErrNotOurs)): // then the shim is another
		err := order.Spare(bootorder.Spell(s.File(bootloader.LoaderFile)))
		if errors.Is(err, bootloader.ErrNoVariables) {
			return nil // and no firmware that could be told
		}
		return err
	case bootloader.NeverStarts(c.Unsafe):
		return c.Unsafe
	case o.Force:
	case c.Older:
		return fmt.Errorf("%s is installed, slot %v has %s: %w", c.Installed, s, c.Own, bootloader.ErrOlder)
	case c.Unsafe != nil:
		return c.Unsafe
	}
	return order.Replace(own, s, o)
}

// Repair implements [bootloader.Repairer]. It removes what others left in the firmware and an upgrade would remove:
// variables that name a slot and outrank loader.conf, entries of ours that start nothing. What boots by itself stays.
//
//  1. loader.conf, then those variables, as in Withdraw. A cut: the default.
//  2. as EnsureStart.
func (l *Loader) Repair() error {
	d, err := l.read()
	switch {
	case err != nil:
	case d.overrule != nil:
		err = d.overrule
	case d.state.Armed != bootloader.None:
		err = fmt.Errorf("slot %v is armed; restart into it, or disarm it (roll back)", d.state.Armed)
	default:
		err = l.settle(d)
	}
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	if d.state.Active == bootloader.None { // nothing of ours runs that could tell where entries belong
		return nil
	}
	return l.EnsureStart()
}

// EnsureStart implements [bootloader.Replacer].
//
//  1. Boot####, then BootOrder, where no start in a row is an entry of our own. A cut: as bootorder.Order.Ensure says.
func (l *Loader) EnsureStart() error {
	order, err := l.order()
	if err == nil {
		err = order.EnsureFile()
	}
	if err != nil {
		return fmt.Errorf("see to an entry of our own in the firmware's boot order: %w", err)
	}
	return nil
}

// Try implements bootloader.Replacer. What it writes, and what boots after each cut, is said at bootorder.Order.Try.
func (l *Loader) Try(s bootloader.Slot) error {
	order, err := l.order()
	if err == nil {
		err = order.Try(bootorder.Spell(s.File(bootloader.LoaderFile)))
	}
	if err != nil {
		return fmt.Errorf("have the firmware start the loader of slot %v once: %w", s, err)
	}
	return nil
}

// Tried implements [bootloader.Replacer].
func (l *Loader) Tried(s bootloader.Slot) (bootloader.Tried, error) {
	order, err := l.order()
	if err != nil {
		return bootloader.Tried{}, err
	}
	return order.Tried(bootorder.Spell(s.File(bootloader.LoaderFile)))
}

// Untry implements [bootloader.Replacer].
func (l *Loader) Untry() error {
	return bootorder.Order{Vars: l.vars, Partition: l.Partition}.Untry()
}
