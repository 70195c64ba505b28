package upgrade

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Reached records how far the running trial has come: "started" and "wiped" are Started's, what follows is the
// caller's, such as `check "net"`. So something is known of a trial that hangs or loses its power. It is one update of
// META, and none if nothing has changed. Outside of a trial that is on record it does nothing.
func (m *Machine) Reached(_ context.Context, where string) error {
	a, err := m.attempt()
	if err != nil {
		return fmt.Errorf("record how far the trial came: %w", err)
	}
	if a == nil || a.State != attempt.Started || a.Boots.Started != m.BootID || a.Reached == where {
		return nil
	}
	a.Reached = where
	if err := m.record(a, nil); err != nil {
		return fmt.Errorf("record how far the trial came: %w", err)
	}
	return nil
}

// Failed gives the running trial up: a check has said no, so another boot would hear the same. The caller reboots. If
// power fails
//
//	before META has the reason  the tries that are left
//	before the disarm           the same; the reason stays on record unless one of them confirms
//	after it                    default
//
// It disarms also when META cannot be written.
func (m *Machine) Failed(_ context.Context, reason string) error {
	st, err := m.onTrial()
	if err != nil {
		return fmt.Errorf("give the trial up: %w", err)
	}
	err = m.note(st, reason)
	if st.Armed == st.Active {
		err = errors.Join(err, m.Loader.Disarm())
	}
	if err != nil {
		return fmt.Errorf("give the trial up: %w", err)
	}
	return nil
}

// Late records why this boot of the trial is about to be ended: it hangs, or took too long. The tries that are left
// stay armed, since another boot may do better. The caller reboots.
func (m *Machine) Late(_ context.Context, reason string) error {
	st, err := m.onTrial()
	if err == nil {
		err = m.note(st, reason)
	}
	if err != nil {
		return fmt.Errorf("end this boot of the trial: %w", err)
	}
	return nil
}

// onTrial is the loader's state in a trial.
func (m *Machine) onTrial() (bootloader.State, error) {
	st, err := m.Loader.State()
	switch {
	case err != nil:
		return st, fmt.Errorf("read the loader's state: %w", err)
	case !st.Trial():
		return st, errors.New("the running slot is the default, so there is no trial")
	}
	return st, nil
}

// note records why the trial ends, so that the old version can say so.
func (m *Machine) note(st bootloader.State, reason string) error {
	a, err := m.attempt()
	switch {
	case err != nil:
		return fmt.Errorf("record why: %w", err)
	case a == nil || !a.Open() || a.To != st.Active:
		return errors.New("record why: META holds no attempt for the running slot")
	}
	if a.Boots.Started != m.BootID {
		a.Trials++ // Started did not come so far
	}
	a.State, a.Boots.Started, a.Reason = attempt.Started, m.BootID, reason
	if err := m.record(a, nil); err != nil {
		return fmt.Errorf("record why: %w", err)
	}
	return nil
}
