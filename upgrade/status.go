package upgrade

import (
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Status is what is known of a machine's slots, loader and last attempt, read afresh.
type Status struct {
	Version  string // of the running system; empty if not known
	BootID   string
	Loader   bootloader.State
	Slots    [2]SlotStatus    // A, then B
	Attempt  *attempt.Attempt // the latest; nil if there was none or META is not readable
	KnownBad []attempt.Bad
	Own      LoaderStatus // the loader itself
	Warnings []string     // one sentence each, the loader's included

	// Unordered says why nothing confirms this boot by itself although the default does not run: see Boot.
	Unordered string
}

// Running is what the active slot holds; its Slot is None if no boot reported one.
func (s Status) Running() SlotStatus {
	for _, slot := range s.Slots {
		if slot.Slot == s.Loader.Active {
			return slot
		}
	}
	return SlotStatus{}
}

// Runs tells what boot this is: the loader's state, and the version that runs. Status tells more, and takes longer.
func (m *Machine) Runs() (st bootloader.State, version string, err error) {
	if st, err = m.Loader.State(); err != nil {
		return st, "", fmt.Errorf("read the loader's state: %w", err)
	}
	return st, m.Version, nil
}

// Status reads the state of the machine. It writes nothing. A META that cannot be read is a warning.
func (m *Machine) Status() (Status, error) {
	st, err := m.Loader.State()
	if err != nil {
		return Status{}, fmt.Errorf("status: read the loader's state: %w", err)
	}
	s := Status{Version: m.Version, BootID: m.BootID, Loader: st, Warnings: append(slices.Clone(st.Warnings),
		m.Problems...)}
	for i, slot := range bootloader.Slots {
		s.Slots[i] = m.slot(slot)
	}
	if s.Own, err = m.loaderStatus(st); err != nil {
		s.Own.Notes = []string{upper(err.Error()) + "."}
	}
	s.Warnings = append(s.Warnings, s.Own.warnings()...)
	if s.Attempt, err = m.attempt(); err != nil {
		s.Warnings = append(s.Warnings, err.Error())
		return s, nil
	}
	s.Unordered = m.unordered(st, s.Attempt)
	if a := s.Attempt; st.Again && a != nil && a.Open() && a.To == st.Armed {
		s.Loader.Tries = max(a.Left(), 1)
	}
	if s.KnownBad, err = m.knownBad(); err != nil {
		s.Warnings = append(s.Warnings, err.Error())
	}
	return s, nil
}
