package predict

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/partition/device"
)

// Option is one entry of BootOrder, as firmware would start it if everything before it started nothing.
type Option struct {
	Number uint16
	Name   string // for people: Boot0001 "Pawl"
	Path   string // of the file on this disk that it starts; "" when it starts none
	Loader bool   // that file is a loader that the model follows
	Stays  bool   // the firmware goes no further: its shell, its setup
	Reason string // why it starts no file; "" when it does
}

// Order says what each entry of BootOrder starts, in order, as it stands now: without those that firmware is still to
// add, and without what it does not try. The disk is only read. It returns nothing for a BIOS.
func Order(disk device.Reader, vars efivar.Store, o Options) ([]Option, error) {
	if o.BIOS {
		return nil, nil
	}
	if err := o.known(); err != nil {
		return nil, err
	}
	held, err := Variables(vars)
	if err != nil {
		return nil, err
	}
	o.NoDigest = true
	b := newBoot(disk, held, o)
	b.trusts = secureboot.Read(held)
	if b.parts, err = readGPT(disk); err != nil {
		return nil, err
	}
	var options []Option
	for _, n := range b.order() {
		lo, err := b.option(n)
		if err != nil || !lo.Tried() {
			continue
		}
		option := Option{Number: n, Name: optionName(n, lo)}
		b.optional = lo.Optional
		v, path, err := b.find(lo)
		if err == nil {
			var sections []section
			if sections, err = b.load(v, path); err == nil {
				option.Path, option.Loader = cleanPath(path), b.isLoader(v, path, sections)
			}
		}
		if err != nil {
			option.Reason, option.Stays = err.Error(), errors.As(err, new(errMenu))
		}
		options = append(options, option)
	}
	return options, nil
}

// Starts is how often in a row firmware starts a loader of this disk, when each of them comes back to it: from the
// first option that starts anything.
func Starts(order []Option) int {
	n := 0
	for _, o := range order {
		switch {
		case o.Loader:
			n++
		case o.Path != "" || o.Stays:
			return n
		}
	}
	return n
}

// Made says which kind of machine a disk was made for, from what lies on it: its architecture by the loader's name, and
// a BIOS where the boot file system has no loader for firmware and the first sector has boot code. Where there are
// loaders for several, what the slots are for decides.
func Made(disk device.Reader) Options {
	b := &boot{disk: disk}
	defer b.forget()
	var there []string
	slots := map[string]bool{}
	parts, err := readGPT(disk)
	if err != nil {
		parts = nil
	}
	for _, p := range parts {
		v := b.volume(p)
		if v == nil {
			continue
		}
		for _, a := range arch.All() {
			if _, err := v.open(a.Removable()); err == nil {
				there = append(there, a.Name)
			}
		}
	}
	for _, p := range parts {
		for _, s := range bootloader.Slots() {
			if v := b.volume(p); v != nil && len(there) > 1 {
				if name, err := v.slotArch(s); err == nil {
					slots[name] = true
				}
			}
		}
	}
	if i := slices.IndexFunc(there, func(name string) bool { return slots[name] }); i >= 0 {
		return Options{Arch: there[i]}
	}
	if len(there) > 0 {
		return Options{Arch: there[0]}
	}
	first := make([]byte, 512)
	if _, err := disk.ReadAt(first, 0); err == nil && first[0] != 0 {
		return Options{BIOS: true}
	}
	return Options{}
}

// maxManifest is more than any manifest has.
const maxManifest = 1 << 20

// slotArch is the architecture that the manifest of slot s names.
func (v *volume) slotArch(s bootloader.Slot) (string, error) {
	f, err := v.open(s.File(bootloader.ManifestFile))
	if err != nil {
		return "", err
	}
	if f.size > maxManifest {
		return "", fmt.Errorf("a manifest of %d bytes", f.size)
	}
	data, err := v.content(f)
	if err != nil {
		return "", err
	}
	m, err := bootloader.DecodeManifest(data)
	return m.Arch, err
}
