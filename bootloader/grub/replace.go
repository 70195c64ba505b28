package grub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootorder"
)

var _ bootloader.Replacer = (*Loader)(nil)

// ownFile is where a slot has GRUB itself.
func (l *Loader) ownFile() string {
	if l.UEFI() {
		return bootloader.LoaderFile
	}
	return bootloader.CoreFile
}

// Compare implements bootloader.Replacer. GRUB's images state no version.
func (l *Loader) Compare(s bootloader.Slot) (bootloader.Comparison, error) {
	c, _, err := l.compare(s)
	if err != nil {
		return c, fmt.Errorf("compare GRUB with that of slot %v: %w", s, err)
	}
	return c, nil
}

func (l *Loader) compare(s bootloader.Slot) (c bootloader.Comparison, own []byte, err error) {
	if held, err := l.FS.ReadFile(configPath); err == nil && string(held) != string(config) {
		c.Notes = append(c.Notes, configPath+" is not the one of this version. It stays as it is: GRUB reads it in each boot, and has no second copy of it.")
	}
	own, err = l.FS.ReadFile(s.File(l.ownFile()))
	if missing(err) {
		return c, nil, nil
	}
	if err != nil {
		return c, nil, err
	}
	if !l.UEFI() {
		return c, own, l.compareCore(&c, own)
	}
	if err := checkEFI(own); err != nil {
		return c, nil, fmt.Errorf("%s: %w", s.File(bootloader.LoaderFile), err)
	}
	c.Own = "GRUB " + name(own)
	installed, err := l.FS.ReadFile(efiPath)
	if err != nil {
		c.Installed = fmt.Sprintf("nothing that can be read (%v)", err)
	} else {
		c.Installed = "GRUB " + name(installed)
		c.Digest = digest(installed)
		c.Same = bytes.Equal(own, installed)
	}
	order, err := l.order()
	if err != nil {
		return c, nil, err
	}
	if err := order.Safe(); err != nil {
		c.Unsafe = fmt.Errorf("%w: %w", bootloader.ErrRisk, err)
	}
	return c, own, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// name tells GRUB images apart for people.
func name(image []byte) string { return digest(image)[:12] }

// order is the firmware's order of boot options, as GRUB's.
func (l *Loader) order() (bootorder.Order, error) {
	said, err := parseReport(l.Cmdline)
	return bootorder.Order{
		Vars: l.vars, FS: l.FS, Partition: l.Partition, Loader: bootorder.Spell(efiPath), Title: "Pawl", Gone: l.Gone,
		Ours: strings.EqualFold(said.boot, l.Partition.GUID.String()),
	}, err
}

// Replace implements bootloader.Replacer. What it writes, and what boots after each cut, is said at bootorder.Order.Replace; for BIOS,
// where it has to be forced, at replaceCore.
func (l *Loader) Replace(s bootloader.Slot, o bootloader.ReplaceOptions) error {
	if err := l.replace(s, o); err != nil {
		return fmt.Errorf("replace GRUB: %w", err)
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
	switch {
	case err != nil || own == nil:
		return err
	case !l.UEFI() && (c.Same || c.Own == ""):
		return nil
	case !l.UEFI() && !o.Force:
		return c.Unsafe
	case !l.UEFI():
		return replaceCore(l.BIOS, own)
	}
	order, err := l.order()
	if err != nil {
		return err
	}
	if c.Same {
		err := order.Spare(bootorder.Spell(s.File(bootloader.LoaderFile)))
		if errors.Is(err, bootloader.ErrNoVariables) {
			return nil // and no firmware that could be told
		}
		return err
	}
	if c.Unsafe != nil && !o.Force {
		return c.Unsafe
	}
	return order.Replace(own, s, o)
}

// EnsureStart implements bootloader.Replacer. A BIOS has no entries.
//
//  1. Boot####, then BootOrder, where no start in a row is an entry of our own. A cut: as bootorder.Order.Ensure says.
func (l *Loader) EnsureStart() error {
	if !l.UEFI() {
		return nil
	}
	order, err := l.order()
	if err == nil {
		err = order.EnsureFile()
	}
	if err != nil {
		return fmt.Errorf("see to an entry of our own in the firmware's boot order: %w", err)
	}
	return nil
}
