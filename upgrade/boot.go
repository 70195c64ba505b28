package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
)

// Boot is what this boot means for the attempt on record.
type Boot struct {
	Trial   bool     // the running slot is not the default: it must be confirmed, or the machine falls back
	Attempt *Attempt // the attempt that this boot is the trial of, or that this boot ended; nil if there is none
	Ended   bool     // this boot found the attempt over: it fell back, or was abandoned, or confirmed after all
	Wiped   bool     // EPHEMERAL was wiped just now
	Staged  bool     // an upgrade was staged before this boot: ApplyStaged, then restart, and mount nothing before
}

// Started is called once in every boot, early, before EPHEMERAL is mounted. It can be called again.
//
// On a trial it records that the new version has started, then wipes EPHEMERAL unless the attempt preserves it; if power
// fails in between, the next boot is a trial that is counted, or the default. On the default with an open attempt it
// records how that ended. What boots is not changed. With META destroyed nothing is recorded and nothing is wiped.
func (m *Machine) Started(context.Context) (Boot, error) {
	st, err := m.Loader.State()
	if err != nil {
		return Boot{}, fmt.Errorf("started: read the loader's state: %w", err)
	}
	a, err := m.attempt()
	if err != nil {
		m.log.Warn("META is not readable; this boot is not recorded", "reason", err)
		return Boot{Trial: st.Trial()}, nil
	}
	b := Boot{Trial: st.Trial(), Attempt: a}
	if a == nil || !a.Open() || st.Active == bootloader.None {
		b.Attempt = nil
		return b, nil
	}
	if b.Trial {
		err = m.trial(st, a, &b)
	} else {
		err = m.settle(st, a, &b)
	}
	if err != nil {
		return b, fmt.Errorf("started: %w", err)
	}
	return b, nil
}

// trial records that the new version has started and wipes EPHEMERAL if it is to be.
func (m *Machine) trial(st bootloader.State, a *Attempt, b *Boot) error {
	if a.To != st.Active {
		b.Attempt = nil
		m.log.Warn("the attempt on record is for another slot", "attempt", a.String(), "active", st.Active)
		return nil
	}
	if a.Phase != Started || a.Boots.Started != m.BootID {
		a.Phase, a.Boots.Started = Started, m.BootID
		if err := m.record(a, nil); err != nil {
			return err
		}
	}
	if a.Preserve || a.Wiped || a.Kind == Rollback || m.Wipe == nil {
		return nil
	}
	if err := m.Wipe(); err != nil {
		return fmt.Errorf("wipe EPHEMERAL: %w", err)
	}
	a.Wiped, b.Wiped = true, true
	return m.record(a, nil)
}

// settle ends the attempt that a boot of the default finds open.
func (m *Machine) settle(st bootloader.State, a *Attempt, b *Boot) error {
	switch {
	case a.To == st.Active: // the cut came between the loader's confirm and META's
		b.Ended = true
		return m.end(a, Confirmed, "")
	case a.Boots.Prepared == m.BootID: // the machine has not been restarted since
		b.Attempt = nil
		return nil
	case a.Phase == Staged:
		b.Staged = true
		return nil
	case a.Phase == Prepared:
		b.Ended = true
		return m.end(a, Abandoned, "the machine restarted before it was armed")
	case st.Armed == a.To: // this boot did not come through the loader; the next one may
		return nil
	case a.Phase == Armed:
		b.Ended = true
		return m.end(a, FellBack, cmp.Or(st.Failed, NotKnown))
	}
	b.Ended = true
	if a.Reason == "" {
		a.Reason = "the new version started, then ended without a word"
	}
	a.Phase, a.Result, a.Boots.Ended = Ended, FellBack, m.BootID
	return m.record(a, &Bad{Image: a.Image, Version: a.Version, Reason: a.Reason, When: m.now().UTC()})
}

// Failed records why the running trial is about to be given up, so that the old version can say so. The caller reboots.
func (m *Machine) Failed(_ context.Context, reason string) error {
	st, err := m.Loader.State()
	if err != nil {
		return fmt.Errorf("record the trial's failure: read the loader's state: %w", err)
	}
	a, err := m.attempt()
	switch {
	case err != nil:
		return fmt.Errorf("record the trial's failure: %w", err)
	case !st.Trial():
		return errors.New("record the trial's failure: the running slot is the default, so there is no trial")
	case a == nil || !a.Open() || a.To != st.Active:
		return errors.New("record the trial's failure: META holds no attempt for the running slot")
	}
	a.Phase, a.Boots.Started, a.Reason = Started, m.BootID, reason
	if err := m.record(a, nil); err != nil {
		return fmt.Errorf("record the trial's failure: %w", err)
	}
	return nil
}

// Confirm makes the running slot the default. The loader's one write comes first and decides; META only learns of it:
//
//	before the loader's write  the default is the old version, and the trial is not repeated beyond its count
//	after it                   the new version; the next Started records the confirmation
//
// With META destroyed it works all the same. On a slot that is the default already it finishes what a cut left over.
// The attempt is nil if META holds none for this slot.
func (m *Machine) Confirm(ctx context.Context, o Options) (*Attempt, error) {
	var a *Attempt
	err := m.walk(ctx, []step{{StepConfirm, func(context.Context) (err error) {
		a, err = m.confirm()
		return err
	}}}, o.Progress)
	return a, err
}

func (m *Machine) confirm() (*Attempt, error) {
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
	if s.Content != Complete {
		return nil, fmt.Errorf("%s: %w (reboot to fall back to the default)", s, ErrNotComplete)
	}
	a, err := m.attempt()
	if err != nil {
		m.log.Warn("META is not readable; the confirmation is not recorded", "reason", err)
		a = nil
	}
	if a != nil && (!a.Open() || a.To != st.Active) {
		a = nil
	}
	if !st.Trial() && a == nil && (st.Armed != bootloader.None) {
		return nil, nil // an attempt of another slot is armed; it is not ours to disarm
	}
	if err := m.Loader.Confirm(st.Active); err != nil {
		return nil, err
	}
	if a == nil {
		return nil, nil
	}
	if err := m.end(a, Confirmed, ""); err != nil {
		m.log.Warn("the confirmation is not recorded", "reason", err)
	}
	return a, nil
}
