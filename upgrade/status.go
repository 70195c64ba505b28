package upgrade

import (
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/internal/sentence"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Runs tells what boot this is: the loader's state, and the version that runs. Status tells more, and takes longer.
func (m *Machine) Runs() (st bootloader.State, version string, err error) {
	if st, err = m.Loader.State(); err != nil {
		return st, "", fmt.Errorf("read the loader's state: %w", err)
	}
	return st, m.Version, nil
}

// Status reads the state of the machine. It writes nothing. A META that cannot be read is a warning. Where the loader's
// state cannot be read, what comes with the error has the slots only.
func (m *Machine) Status() (report.Status, error) {
	s := report.Status{Version: m.Version, BootID: m.BootID}
	for i, slot := range bootloader.Slots() {
		s.Slots[i] = m.slot(slot)
	}
	st, err := m.Loader.State()
	if err != nil {
		return s, fmt.Errorf("status: read the loader's state: %w", err)
	}
	s.Loader, s.Warnings = st, append(slices.Clone(st.Warnings), m.Problems...)
	if s.Own, err = m.loaderStatus(st); err != nil {
		s.Own.Notes = []string{sentence.Upper(err.Error()) + "."}
	}
	s.Warnings = append(s.Warnings, s.Own.Warnings()...)
	if s.Attempt, err = m.attempt(); err != nil {
		s.Unread, s.Warnings = err, append(s.Warnings, err.Error())
		return s, nil
	}
	if why := m.unfinished(st); why != "" {
		s.Warnings = append(s.Warnings, why)
	}
	s.Unordered = m.unordered(st, s.Attempt)
	if a := s.Attempt; st.Again && a != nil && a.Open() && a.To == st.Armed {
		s.Loader.Tries = max(a.Left(), 1)
	}
	if s.KnownBad, err = m.knownBad(); err != nil {
		s.Unread, s.Warnings = err, append(s.Warnings, err.Error())
	}
	return s, nil
}
