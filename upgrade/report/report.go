// Package report is what is known of a machine: what its slots hold, what boots, what became of its last attempt, and
// how its loader compares with the one that its version has brought.
//
// Start with [Status], which upgrade.Machine.Status returns.
package report

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Status is what is known of a machine's slots, loader and last attempt, read afresh.
type Status struct {
	Version  string // of the running system; empty if not known
	BootID   string
	Loader   bootloader.State
	Slots    [2]Slot          // A, then B
	Attempt  *attempt.Attempt // the latest; nil if there was none or META is not readable
	KnownBad []attempt.Bad
	Own      Loader   // the loader itself
	Warnings []string // one sentence each, the loader's included

	Unread error // why META, or its record of attempts, cannot be read; nil when it can

	// Unordered says why nothing confirms this boot by itself although the default does not run: see Boot.
	Unordered string
}

// Running is what the active slot holds; its Slot is None if no boot reported one.
func (s Status) Running() Slot {
	for _, slot := range s.Slots {
		if slot.Slot == s.Loader.Active {
			return slot
		}
	}
	return Slot{}
}

// Content is how much of a system a slot holds.
type Content string

// What a slot can hold.
const (
	Empty    Content = "empty"    // no files
	Partial  Content = "partial"  // files without a manifest, or files that do not match it in number or size
	Complete Content = "complete" // a manifest, and every file that it lists in its full size
)

// Slot is one slot, from its directory alone.
type Slot struct {
	Slot     bootloader.Slot
	Content  Content
	Manifest bootloader.Manifest // zero unless Content is Complete
	Problem  string              // what makes it partial
}

// String says what a slot holds, for people.
func (s Slot) String() string {
	switch {
	case s.Content == Complete:
		return fmt.Sprintf("slot %s holds version %s", s.Slot, s.Manifest.Version)
	case s.Problem != "":
		return fmt.Sprintf("slot %s is %s: %s", s.Slot, s.Content, s.Problem)
	}
	return fmt.Sprintf("slot %s is %s", s.Slot, s.Content)
}

// Version names what a slot holds, for people and for META.
func (s Slot) Version() string {
	if s.Content == Complete {
		return s.Manifest.Version
	}
	return string(s.Content)
}

// Loader is the loader that starts a machine, beside the one that the default's version has brought. The zero
// value is that of a machine on which there is nothing to compare.
type Loader struct {
	Slot      bootloader.Slot // the default, where it runs
	Version   string          // what that slot holds
	Installed string          // name and version of the loader that is installed, for people
	Own       string          // those of the slot's; "" when the version has brought none
	Same      bool            // they are the same, byte for byte
	// why it is left as it is: ErrOlder, ErrRisk, ErrMachine, ErrRefused, ErrNotOurs; nil when it is the same, or would
	// be replaced
	Left  error
	Waits bool     // the next start through the firmware goes through it, and then it is installed
	Notes []string // what is odd but does no harm, one sentence each
}

// String says in a sentence how the two loaders compare.
func (s Loader) String() string {
	switch {
	case s.Own == "":
		return "The version that runs by itself has brought no loader, so the one that is installed stays."
	case s.Same:
		return fmt.Sprintf("The loader is that of version %s: %s.", s.Version, s.Own)
	case s.Left != nil:
		return fmt.Sprintf("The loader of version %s (%s) differs from the one that is installed (%s), which is left "+
			"as it is: %v.", s.Version, s.Own, s.Installed, s.Left)
	case s.Waits:
		return fmt.Sprintf("The loader of version %s (%s) differs from the one that is installed (%s): the next "+
			"start through the firmware goes through it, and the boot after that installs it.", s.Version, s.Own,
			s.Installed)
	}
	return fmt.Sprintf("The loader of version %s (%s) differs from the one that is installed (%s), and is not "+
		"installed yet.", s.Version, s.Own, s.Installed)
}

// Settled reports whether the loader is as it should be: it is the version's, or a later one, or that has brought none.
func (s Loader) Settled() bool {
	return s.Own == "" || s.Same || errors.Is(s.Left, bootloader.ErrOlder)
}

// Warnings are what Status says of it.
func (s Loader) Warnings() []string {
	if s.Settled() {
		return s.Notes
	}
	return append([]string{s.String()}, s.Notes...)
}
