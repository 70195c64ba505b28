package upgrade

import (
	"cmp"
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
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
