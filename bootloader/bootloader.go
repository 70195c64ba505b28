// Package bootloader holds what all loaders have in common: the slots, what a slot holds, the state that a
// loader keeps, and the six things that an upgrade asks of it.
//
// Start with Bootloader. Backends live in bootloader/sdboot and bootloader/grub; each guarantees that every
// method can be cut at any write and called again, that Arm and Confirm are one write each, and that a slot that
// was not confirmed never boots by itself.
//
// The package opens nothing and writes nothing: it has types, the fixed paths of the boot file system and the
// manifest's codec.
package bootloader

import (
	"errors"
	"fmt"
	"strings"
)

// Slot names one of the two places that hold a complete operating system. The zero value, None, is no slot.
type Slot string

// The slots.
const (
	None Slot = ""
	A    Slot = "A"
	B    Slot = "B"
)

// Slots lists the slots in order.
func Slots() []Slot { return []Slot{A, B} }

// ParseSlot reads "A" or "B" in either case.
func ParseSlot(s string) (Slot, error) {
	switch strings.ToUpper(s) {
	case "A":
		return A, nil
	case "B":
		return B, nil
	}
	return None, fmt.Errorf("parse slot %q: want A or B", s)
}

// Other returns the slot that s is not; of None it is None.
func (s Slot) Other() Slot {
	switch s {
	case A:
		return B
	case B:
		return A
	}
	return None
}

// String is the slot's name, or "none".
func (s Slot) String() string {
	if s == None {
		return "none"
	}
	return string(s)
}

// Dir is the slot's directory on the boot file system, with forward slashes and no leading one: "EFI/pawl/A".
func (s Slot) Dir() string { return "EFI/pawl/" + string(s) }

// File is the path of one of the slot's files on the boot file system.
func (s Slot) File(name string) string { return s.Dir() + "/" + name }

// LoaderDir is where firmware looks for a loader without being told one.
const LoaderDir = "EFI/BOOT"

// Zones are the directories of the boot file system that never share a block (package bootfs): each of them can be
// changed while the others are needed.
func Zones() []string { return []string{A.Dir(), B.Dir(), LoaderDir} }

// Names of files in a slot's directory.
const (
	UKIFile      = "os.efi"        // a unified kernel image
	KernelFile   = "vmlinuz"       // a kernel without one
	InitrdFile   = "initrd"        // and its initramfs
	CmdlineFile  = "cmdline"       // and its arguments; a UKI has its own inside
	LoaderFile   = "loader.efi"    // the version's own loader, which replaces the one that is installed: see Replacer
	ShimFile     = "shim.efi"      // a shim that firmware trusts, where one starts the loader
	CoreFile     = "loader.img"    // the same for GRUB on BIOS: its core image
	ManifestFile = "manifest.json" // written last: it marks the slot complete
)

// State is what the loader and the firmware hold, and what this boot reports.
type State struct {
	Loader  string // the loader's name and version as it reports them, for people
	Active  Slot   // the slot this machine runs now; None where no boot reported one (a disk image)
	Default Slot   // the slot that boots when nothing is armed; None before an install is complete
	Armed   Slot   // the slot set to boot a counted number of times; None when nothing is armed
	ArmedBy string // what arms it, where a loader knows several ways: "LoaderEntryOneShot", "BootNext"
	Tries   int    // boots of Armed that are left, as far as the loader counts them: see Again
	Again   bool   // the loader boots what is armed once, and a trial arms the next one: see Bootloader.Arm
	// the loader was to count this boot of the running slot, and could not: it would boot it for ever. Disarm
	Endless  bool
	Bootable []Slot // slots that the loader would offer, in slot order
	// why Arm would be refused whatever is prepared (ErrForeign, ErrNoVariables); nil when it would not
	Blocked  error
	Failed   string   // why a slot that was to boot did not, in the loader's words; "" when it says nothing
	Warnings []string // what is odd but does no harm, one sentence each
}

// Trial reports whether the running slot is not the default: it has yet to be confirmed.
func (s State) Trial() bool { return s.Active != None && s.Active != s.Default }

// Errors that callers act on.
var (
	// ErrNotFound is returned when a disk holds no loader of this kind. Do: try another backend, or install.
	ErrNotFound = errors.New("no such loader on this boot file system")
	// ErrForeign is returned when something that is not ours is set to decide the next boot (an armed BootNext, a
	// loader in front). Nothing was overwritten. Do: boot once or clear it, then try again.
	ErrForeign = errors.New("the next boot is set by something else")
	// ErrNoVariables is returned when the firmware's variables cannot be kept (read-only, full, absent).
	// Do: make them writable; a trial cannot be armed without.
	ErrNoVariables = errors.New("firmware variables cannot be kept")
	// ErrAmbiguous is returned when the sources of "which slot runs now" disagree. Do: reboot, then try again.
	ErrAmbiguous = errors.New("it is not clear which slot is running")
)

// Bootloader is what an upgrade asks of a loader. Implementations are not safe for concurrent use; the caller holds
// the boot file system exclusively. Every method reads the real state first and can be called again after a cut.
type Bootloader interface {
	// State reads what the loader, the firmware and this boot say. It writes nothing.
	State() (State, error)

	// Withdraw makes slot s not bootable, before its files are cleared. It refuses the active and the default slot.
	Withdraw(s Slot) error

	// Prepare tells the loader of the complete slot s, so that s never boots by itself, and sees to it that the
	// firmware comes back to the loader after a trial that does not load. It refuses the active and the default slot,
	// but for an install, where there is neither.
	Prepare(s Slot, m Manifest, tries int) error

	// Arm is the commit point: one write, read back, after which the next boots, at most tries, start s and the boot
	// after them the default. It refuses a slot that is not prepared, and whatever Prepare was to see to.
	//
	// A loader that cannot count (State.Again) boots s once. A trial that has tries left calls Arm for its own slot
	// with those, after it has counted itself where no cut undoes it; one that does not come so far gets no other.
	Arm(s Slot, tries int) error

	// Disarm takes an arming back and reads back that it is gone. With nothing armed it writes nothing. What another
	// program armed is ErrForeign.
	Disarm() error

	// Confirm makes s the default with one write, then disarms and tidies up. It refuses a slot that is not complete.
	Confirm(s Slot) error
}
