package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Boot is what this boot means for the attempt on record.
type Boot struct {
	Trial   bool             // the running slot is on trial: it must be confirmed, or the machine falls back
	Attempt *attempt.Attempt // the attempt that this boot is the trial of, or that this boot ended; nil if there is none
	Ended   bool             // this boot found the attempt over: it fell back, or was abandoned, or confirmed after all
	Wiped   bool             // EPHEMERAL was wiped just now
	Staged  bool             // an upgrade was staged before this boot: ApplyStaged, then restart, and mount nothing before

	// Unordered says why this boot is no trial although the default does not run: no attempt ordered it. Do: confirm
	// nothing, and tell a person, who decides. Empty in every other boot.
	Unordered string
}

// Started is called once in every boot, early, before EPHEMERAL is mounted. It can be called again.
//
// On a trial it counts this boot in META, arms the next try where the loader does not count ([bootloader.State.Again]),
// and wipes EPHEMERAL, once, unless the attempt preserves it. On the default it records how an open attempt ended, and
// has firmware start the loader by an entry of our own. With META destroyed it records, wipes and arms nothing, and
// what runs beside the default is a trial.
//
// A boot that no attempt ordered is no trial: see [Boot].
func (m *Machine) Started(context.Context) (Boot, error) {
	st, err := m.Loader.State()
	if err != nil {
		return Boot{}, fmt.Errorf("started: read the loader's state: %w", err)
	}
	m.forgetInstall()
	m.ensureStart(st)
	m.noticeLoader(st)
	if st.Trial() && st.Endless {
		m.log.Warn("the loader does not count this trial; it gets no other boot")
		if err := m.Loader.Disarm(); err != nil {
			m.log.Error("this trial is tried again for ever, unless it is confirmed", "reason", err)
		}
	}
	a, err := m.attempt()
	if err != nil {
		if usedUp(st) != nil {
			m.spend(st)
		}
		m.log.Warn("META is not readable; this boot is not recorded", "reason", err)
		return Boot{Trial: st.Trial()}, nil
	}
	if why := m.unordered(st, a); why != "" {
		m.log.Warn("no attempt ordered this boot; it is not confirmed by itself", "slot", st.Active, "default",
			st.Default, "reason", why)
		return Boot{Unordered: why}, nil
	}
	b := Boot{Trial: st.Trial(), Attempt: a}
	if a == nil || !a.Open() || st.Active == bootloader.None {
		b.Attempt = nil
		if a != nil && !a.Open() && !m.ReadOnly {
			m.forgetLater(a)
		}
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
// If power fails
//
//	before META counts this boot        default; with a loader that counts by itself, what is left
//	before the trial is armed again     default: a try is lost, and none is gained. Only where the loader does not count
//	                                    and tries are left
//	before EPHEMERAL is wiped, or after the tries that are left, then the default
//
// A loader that has not used up what armed it is disarmed, in the first call of a boot.
func (m *Machine) trial(st bootloader.State, a *attempt.Attempt, b *Boot) error {
	if a.To != st.Active {
		b.Attempt = nil
		m.log.Warn("the attempt on record is for another slot", "attempt", a.String(), "active", st.Active)
		return nil
	}
	if a.State != attempt.Started || a.Boots.Started != m.BootID {
		crash, dumps := m.crash(a) // of a try before this one: there is not room for all
		a.State, a.Boots.Started, a.Reached = attempt.Started, m.BootID, "started"
		a.Trials++
		if crash != nil {
			a.Crash = crash
		}
		if err := m.record(a, nil); err != nil {
			return err
		}
		m.forget(dumps)
		if usedUp(st) != nil {
			m.spend(st)
		} else {
			m.again(st, a)
		}
	}
	if a.Preserve || a.Wiped || a.Kind == attempt.Rollback || m.Wipe == nil {
		return nil
	}
	m.at("trial", "wipe EPHEMERAL")
	if err := m.Wipe(); err != nil {
		return fmt.Errorf("wipe EPHEMERAL: %w", err)
	}
	a.Wiped, b.Wiped, a.Reached = true, true, "wiped"
	return m.record(a, nil)
}

// usedUp is what is wrong where the boot that runs on trial has not used up what armed it: it would be started without
// end.
func usedUp(st bootloader.State) error {
	if st.Trial() && st.Again && st.Armed == st.Active {
		return fmt.Errorf("the firmware has not used up %s, which started this trial", st.ArmedBy)
	}
	return nil
}

// spend disarms in place of such a firmware. The trial gets no other boot, since nothing would end it that does not
// come so far.
func (m *Machine) spend(st bootloader.State) {
	if err := m.Loader.Disarm(); err != nil {
		m.log.Error("this trial is started again for ever, unless it is confirmed", "cause", usedUp(st), "reason", err)
		return
	}
	m.log.Warn("what started this trial is deleted in the firmware's place; the trial gets no other boot", "cause",
		usedUp(st))
}

// again arms the running slot for the tries that are left, in the very call that has counted this boot: a later one may
// come after the trial was given up. A boot without an id cannot be told from the next one, so it is the last.
func (m *Machine) again(st bootloader.State, a *attempt.Attempt) {
	if !st.Again || a.Left() == 0 || m.BootID == "" {
		return
	}
	err := m.tryBy(a.Way)
	if err == nil {
		err = m.Loader.Arm(a.To, a.Left())
	}
	if err != nil {
		m.log.Warn("the trial gets no other boot", "left", a.Left(), "reason", err)
	}
}

// settle ends the attempt that a boot of the default finds open.
func (m *Machine) settle(st bootloader.State, a *attempt.Attempt, b *Boot) error {
	switch {
	case a.To == st.Active: // the cut came between the loader's confirm and META's
		b.Ended = true
		return m.end(a, attempt.Confirmed, "")
	case a.Boots.Prepared == m.BootID: // the machine has not been restarted since
		b.Attempt = nil
		return nil
	case a.State == attempt.Staged:
		b.Staged = true
		return nil
	case a.State == attempt.Prepared:
		b.Ended = true
		return m.end(a, attempt.Abandoned, "the machine restarted before it was armed")
	case st.Armed == a.To: // this boot did not come through the loader; the next one may
		return nil
	}
	b.Ended = true
	return m.fellBack(st, a)
}

// fellBack ends an attempt whose trial failed, with what is known of why. The image is remembered as bad if the new
// version said that it started, or if its kernel left word that it panicked. If power fails
//
//	before META has it                   the next boot of the default finds the attempt open, and the kernel's records
//	before those records are removed     they are META's already; the next boot removes them
func (m *Machine) fellBack(st bootloader.State, a *attempt.Attempt) error {
	crash, dumps := m.crash(a)
	if crash == nil {
		crash = a.Crash // a try before the last one left it
	}
	started := a.State == attempt.Started
	began := "the new version started"
	if a.Trials > 1 {
		began = fmt.Sprintf("the new version started %d times", a.Trials)
	}
	panicked := crash != nil && crash.Panic != "" && (started || st.Failed == "")
	switch {
	case started && a.Reason != "": // it said so itself
	case started && panicked:
		a.Reason = began + ", then its kernel panicked: " + crash.Panic + lastSeen(a)
	case panicked:
		a.Reason = "its kernel panicked before it said that it started: " + crash.Panic
	case started:
		a.Reason = began + ", then ended without a word" + lastSeen(a)
	default:
		a.Reason = cmp.Or(st.Failed, attempt.NotKnown)
		if a.Foreseen != "" {
			a.Reason += "; it was forced, and foreseen: " + a.Foreseen
		}
	}
	a.State, a.Result, a.Boots.Ended, a.Crash, a.Seen = attempt.Ended, attempt.FellBack, m.BootID, crash, nil
	var bad *attempt.Bad
	if started || panicked {
		bad = &attempt.Bad{Image: a.Image, Version: a.Version, Reason: a.Reason, When: m.now().UTC()}
	}
	if err := m.record(a, bad); err != nil {
		return err
	}
	m.forget(dumps)
	return nil
}

// lastSeen says how far the trial came.
func lastSeen(a *attempt.Attempt) string {
	if a.Reached == "" {
		return ""
	}
	return fmt.Sprintf(" (it was last seen at %q)", a.Reached)
}

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
