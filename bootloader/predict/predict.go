// Package predict says what firmware and loader do with a disk and the firmware's variables: a model of OVMF (EDK II)
// with systemd-boot 252 to 262 or GRUB 2.06, and of a BIOS with GRUB.
//
// Start with Next, which predicts the next boots and writes nothing, or with Boot, which plays one. The model reads the
// disk's bytes by itself and shares no code with what writes them, except for the layout of load options (efivar, held
// by bytes that firmware made). `make boots` holds it to what QEMU boots.
//
// The model follows what was tried in QEMU (docs/decisions/0002-boot-order.md and the comments beside each rule), the
// failure paths above all: an image that does not load sends the loader back to the firmware, which takes the next in
// BootOrder; a loader without entries does not go back, and stays. It reads the first FAT only, through the pages of
// the firmware's cache. Of GRUB it runs the very grub.cfg that is on the disk, with the small part of GRUB's script
// language that such a file needs; anything else in it is an error. A machine that resets goes on in the same call.
//
// It does not model: a directory that a loader makes longer, an Extended Boot Loader partition, GRUB on FAT12 and
// FAT16, other partition tables than GPT, more than one disk, keys pressed, or what an image does once it started. The
// first four are errors when they would matter. With Secure Boot on, a program is refused that the firmware, or the
// shim in front of the loader, is known to refuse (package secureboot). Where that is not known, and for what GRUB
// loads without a shim, the signature is taken to be good, and Outcome.Unsure says so.
//
// Specification: UEFI 2.10 sections 3 and 13, the Boot Loader Specification of the UAPI group, systemd-boot(7) 252.
package predict

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition/device"
)

// ErrNotModelled is returned for a boot of which the model cannot say what happens. Do: boot it and see.
var ErrNotModelled = errors.New("not modelled")

// Options chooses the machine. The zero value is OVMF for amd64, with its shell.
type Options struct {
	Arch     string // GOARCH; "" is arch.Usual
	BIOS     bool   // a BIOS instead of UEFI: no variables, and the disk's first sector is started
	NoShell  bool   // firmware without a shell behind the last boot option
	NoDigest bool   // leave Outcome.Digest empty
	// Skim reads of a program, a kernel or an initramfs only what the model looks at, and so no sector that cannot be
	// read in the rest of it; with Secure Boot on, a program is read once for each Verdicts. It implies NoDigest.
	Skim bool
	// Good names files, by their paths on the boot file system, that are taken to be whole, signed, and right for the
	// machine, whatever they hold: what is to be written there is not there yet. Nil: none.
	Good  func(path string) bool
	Trace bool // fill Outcome.Log
	// Verdicts keeps what is known of signatures from one boot to the next; nil: each file is hashed in each boot.
	Verdicts *Verdicts
	// Refuses is the SHA-256 of a program that this firmware does not start, for a reason that is not in the file; ""
	// for none. Not with Skim.
	Refuses string
	// Explain fills Outcome.Why; Next always does.
	Explain bool
	// Model predicts in place of this package, for a loader that this package does not know; nil: it does.
	Model Model
	// SectorReads is a firmware without read caches: an unreadable sector costs itself alone. OVMF is not like that
	// (see fat.go), so without this option an unreadable sector takes its neighbours along.
	SectorReads bool
}

// Model predicts the boots of machines whose loader this package does not know. A loader from outside
// ([bootloader.Backend]) that is also a Model can be rehearsed and diagnosed; with another one, an upgrade says that it
// was not rehearsed.
type Model interface {
	// Boot does what Boot of this package does, for that loader: it powers the machine on and says where that ends. It
	// follows Options.Good and Options.Skim, so that a rehearsal can go on with files that are not there yet, and is
	// quick. The others it may leave alone.
	Boot(disk device.Reader, vars *efivar.Memory, o Options) (Outcome, error)
}

// Knows reports whether this package models the loader of that name ([bootloader.Backend.Name]) by itself.
func Knows(loader string) bool {
	return loader == "systemd-boot" || loader == "grub-uefi" || loader == "grub-bios" || ByEither(loader)
}

// ByBIOS reports whether a BIOS starts the loader of that name, whatever lies where UEFI would look for one.
func ByBIOS(loader string) bool { return loader == "grub-bios" }

// ByEither reports whether UEFI and a BIOS alike start the loader of that name, from one disk.
func ByEither(loader string) bool { return loader == "grub" }

// Outcome is where a boot ended.
type Outcome struct {
	Slot    bootloader.Slot // None when what runs is no slot, or nothing runs
	Path    string          // of what was started on the boot file system, "EFI/pawl/A/os.efi"; "" when nothing was
	Digest  string          // SHA-256 of that file as it was loaded, 64 hex digits
	Initrd  string          // the same of the initramfs that a loader loaded beside a kernel; "" otherwise
	Cmdline string          // what the loader gave the kernel; "" for a UKI, which has its own inside
	Entry   string          // systemd-boot's id of it; "" when the firmware started it itself
	Trial   bool            // by LoaderEntryOneShot, BootNext or GRUB's count, and so not by itself
	Starts  int             // how often the loader was started
	Stuck   string          // why nothing runs, and a person is needed; "" when something does
	Why     []string        // what led there, one sentence each, in order; with Options.Explain
	Unsure  []string        // what was taken to be signed because that is not known, each with the reason
	Log     []string        // what was tried, with Options.Trace
}

// String is the outcome in one line.
func (o Outcome) String() string {
	if o.Stuck != "" {
		return fmt.Sprintf("stuck: %s (loader starts: %d)", o.Stuck, o.Starts)
	}
	kind := "by itself"
	if o.Trial {
		kind = "trial"
	}
	return fmt.Sprintf("slot %v, %s, %s, loader starts: %d, %s", o.Slot, o.Path, kind, o.Starts, o.Digest)
}

// Boot powers the machine on, with the whole disk and the variables that it finds. It changes vars as firmware and
// loader do: volatile ones are gone first, BootNext and LoaderEntryOneShot are used up, BootCurrent and the loader's
// own tell of this boot. The disk is written by GRUB, in its environment block, and by systemd-boot, where an entry's
// name counts boots; then it must be an [io.WriterAt]. An error means that the model does not know what would happen.
func Boot(disk device.Reader, vars *efivar.Memory, o Options) (Outcome, error) {
	if o.Model != nil {
		return o.Model.Boot(disk, vars, o)
	}
	return newBoot(disk, vars, o).run()
}

// known refuses an architecture that is not known.
func (o Options) known() error {
	if _, err := arch.Named(o.Arch); err != nil && o.Arch != "" {
		return fmt.Errorf("firmware: %w: %w", err, ErrNotModelled)
	}
	return nil
}
