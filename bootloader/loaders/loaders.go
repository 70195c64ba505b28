// Package loaders lists the loaders that Pawl brings, for whoever opens or installs a disk.
//
// Start with All. A program with a loader of its own gives package upgrade another list: append(loaders.All(), mine).
package loaders

import (
	"cmp"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// Names of the loaders.
const (
	SystemdBoot = sdboot.Name   // UEFI; a slot is a UKI, or a kernel and an initramfs
	GRUBBIOS    = grub.NameBIOS // GRUB on BIOS; a slot is a kernel and an initramfs
	GRUBUEFI    = grub.NameUEFI // GRUB on UEFI; the same slots
	GRUB        = grub.NameBoth // GRUB on UEFI and on BIOS, of one disk; the same slots
)

// All returns the loaders, the usual one first.
func All() []bootloader.Backend {
	return []bootloader.Backend{sdboot.Backend{}, grub.Backend{BIOS: true}, grub.Backend{},
		grub.Backend{Both: true}}
}

// Names lists their names.
func Names() []string { return []string{SystemdBoot, GRUBBIOS, GRUBUEFI, GRUB} }

// Named returns the loader of that name; "" is [SystemdBoot].
func Named(name string) (bootloader.Backend, error) {
	return bootloader.Find(All(), cmp.Or(name, SystemdBoot))
}
