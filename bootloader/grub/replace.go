package grub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/uki"
)

var _ bootloader.Replacer = (*Loader)(nil)

// efiPath is where firmware finds GRUB without being told where.
func (l *Loader) efiPath() string { return bootorder.MadeFor(l.FS).Removable() }

// InWholeDisk implements [bootloader.Replacer]: a BIOS starts GRUB from outside of the boot file system.
func (l *Loader) InWholeDisk() bool { return !l.UEFI() }

// ownFile is where a slot has GRUB itself.
func (l *Loader) ownFile() string {
	if l.UEFI() {
		return bootloader.LoaderFile
	}
	return bootloader.CoreFile
}

// Compare implements [bootloader.Replacer]. GRUB's images state no version.
func (l *Loader) Compare(s bootloader.Slot) (bootloader.Comparison, error) {
	c, _, err := l.compare(s)
	if err != nil {
		return c, fmt.Errorf("compare GRUB with that of slot %v: %w", s, err)
	}
	return c, nil
}

func (l *Loader) compare(s bootloader.Slot) (c bootloader.Comparison, own []byte, err error) {
	if held, err := l.FS.ReadFile(configPath); err == nil && string(held) != string(config) {
		c.Notes = append(c.Notes, configPath+" is not the one of this version. It stays as it is: GRUB reads it in "+
			"each boot, and has no second copy of it.")
	}
	own, err = l.own(s)
	if err != nil || own == nil {
		return c, nil, err
	}
	if !l.UEFI() {
		l.compareCore(&c, own)
		return c, own, nil
	}
	c.Own = "GRUB " + name(own)
	order, err := l.order()
	if err != nil {
		return c, nil, err
	}
	place, err := order.Place()
	if err != nil {
		return c, nil, err
	}
	installed, err := bootorder.Read(l.FS, place)
	if err != nil {
		c.Installed = fmt.Sprintf("nothing that can be read (%v)", err)
		_, err := l.FS.Stat(place)
		c.Missing = err != nil
	} else {
		switch {
		case bootorder.IsShim(installed):
			c.Installed = "a shim"
		case !isGRUB(installed):
			c.Installed = "not known (it is not GRUB)"
		default:
			c.Installed = "GRUB " + name(installed)
		}
		c.Digest, c.Missing = digest(installed), !bootorder.IsProgram(installed) || order.Lost()
		c.Same = !c.Missing && bytes.Equal(own, installed)
	}
	c.Unsafe = order.Unsafe(s, own)
	return c, own, nil
}

// own reads GRUB from a slot; nil where it holds none. What is no GRUB is an error.
func (l *Loader) own(s bootloader.Slot) (own []byte, err error) {
	own, err = bootorder.Read(l.FS, s.File(l.ownFile()))
	if missing(err) {
		return nil, nil
	}
	switch {
	case err != nil:
	case !l.UEFI():
		err = checkCore(own)
	case !isGRUB(own):
		err = errors.New("it is not GRUB")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.File(l.ownFile()), err)
	}
	return own, nil
}

// isGRUB reports whether a program is an image of GRUB for EFI, which has its modules in a section of their own.
func isGRUB(image []byte) bool {
	img, err := uki.Parse(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		return false
	}
	_, err = img.Section("mods")
	return err == nil
}

// Fits implements [bootloader.Replacer].
func (l *Loader) Fits(s bootloader.Slot, machine string) error {
	own, err := l.own(s)
	switch {
	case err != nil || own == nil:
	case l.UEFI():
		err = bootorder.For(own, machine)
	default:
		if a, unknown := arch.Named(machine); unknown != nil || a.BIOS == "" {
			err = fmt.Errorf("it is for BIOS, and %s is wanted: %w", machine, bootloader.ErrMachine)
		}
	}
	if err != nil {
		return fmt.Errorf("GRUB in slot %v: %w", s, err)
	}
	return nil
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
		Vars: l.vars, FS: l.FS, Partition: l.Partition, Loader: bootorder.Spell(l.efiPath()), Title: "Pawl", Gone: l.Gone,
		Ours: strings.EqualFold(said.boot, l.Partition.GUID.String()),
	}, err
}

// Replace implements [bootloader.Replacer]. What it writes, and what boots after each cut, is said at
// [bootorder.Order.Replace]; for BIOS, where it has to be forced, at replaceCore.
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
	if c.Same && !(o.Force && errors.Is(c.Unsafe, bootloader.ErrNotOurs)) { // then the shim is another
		err := order.Spare(bootorder.Spell(s.File(bootloader.LoaderFile)))
		if errors.Is(err, bootloader.ErrNoVariables) {
			return nil // and no firmware that could be told
		}
		return err
	}
	if bootloader.NeverStarts(c.Unsafe) || c.Unsafe != nil && !o.Force {
		return c.Unsafe
	}
	return order.Replace(own, s, o)
}

// EnsureStart implements [bootloader.Replacer]. A BIOS has no entries.
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

// Try implements bootloader.Replacer. What it writes, and what boots after each cut, is said at bootorder.Order.Try.
func (l *Loader) Try(s bootloader.Slot) error {
	if !l.UEFI() {
		return fmt.Errorf("have a BIOS start GRUB of slot %v once: %w", s, bootloader.ErrRisk)
	}
	order, err := l.order()
	if err == nil {
		err = order.Try(bootorder.Spell(s.File(bootloader.LoaderFile)))
	}
	if err != nil {
		return fmt.Errorf("have the firmware start GRUB of slot %v once: %w", s, err)
	}
	return nil
}

// Tried implements [bootloader.Replacer].
func (l *Loader) Tried(s bootloader.Slot) (bootloader.Tried, error) {
	if !l.UEFI() {
		return bootloader.Tried{}, nil
	}
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
