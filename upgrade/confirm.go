package upgrade

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Confirm makes the running slot the default. The loader's one write decides; META only learns of it. A trial that was
// started by kexec is confirmed only when it is predicted that the firmware starts the slot too: else it is [ErrCold],
// and nothing is written. Where something in front of the loader would start the other slot all the same, it is
// [ErrRehearsal], and nothing is written. One that no attempt ordered is confirmed only with Options.Ordered: else it
// is [ErrUnordered]. With META destroyed it works all the same. On a slot that is the default already it finishes what
// a cut left over; where the other slot is armed there, it is [ErrArmed]. The attempt is nil if META holds none for
// this slot.
func (m *Machine) Confirm(ctx context.Context, o Options) (*attempt.Attempt, error) {
	var a *attempt.Attempt
	err := m.walk(ctx, []step{{progress.StepConfirm, func(ctx context.Context) (err error) {
		a, err = m.confirm(ctx, o)
		return err
	}}}, o.Progress)
	return a, err
}

// confirm is Confirm's one step. If power fails
//
//	before the loader's write  the default is the old version, and the trial is not repeated beyond its count
//	after it                   the new version; the next Started records the confirmation
func (m *Machine) confirm(ctx context.Context, o Options) (*attempt.Attempt, error) {
	st, err := m.Loader.State()
	if err != nil {
		return nil, fmt.Errorf("read the loader's state: %w", err)
	}
	if st.Active == bootloader.None {
		return nil, unreported(st)
	}
	s, err := m.active(st)
	if err != nil {
		return nil, err
	}
	if s.Content != report.Complete {
		return nil, fmt.Errorf("%s: %w (reboot to fall back to the default)", s, ErrNotComplete)
	}
	reason := ""
	a, err := m.attempt()
	if err != nil {
		m.log.Warn("META is not readable; the confirmation is not recorded", "reason", err)
		a = nil
	} else if why := m.unordered(st, a); why != "" {
		if !o.Ordered {
			return nil, fmt.Errorf("%s: %w", why, ErrUnordered)
		}
		a, reason = m.byHand(st, s, a), "confirmed by hand"
	}
	if a != nil && (!a.Open() || a.To != st.Active) {
		a = nil
	}
	if !st.Trial() && a == nil && st.Armed != bootloader.None && st.Armed != st.Active {
		return nil, fmt.Errorf("slot %v is the default already, and slot %v boots next: %w", st.Active, st.Armed, ErrArmed)
	}
	if st.Trial() && m.byKexec(st.Active) {
		if err := m.startsCold(s); err != nil {
			return nil, fmt.Errorf("slot %v: %w", st.Active, err)
		}
	}
	if !unrehearsed.Is(ctx) {
		if err := m.outvoted(s); err != nil {
			return nil, err
		}
	}
	if err := m.Loader.Confirm(st.Active); err != nil {
		return nil, err
	}
	if a == nil {
		return nil, nil
	}
	m.at("trial", "record the confirmation")
	if err := m.end(a, attempt.Confirmed, reason); err != nil {
		m.log.Warn("the confirmation is not recorded", "reason", err)
	}
	return a, nil
}
