package upgrade

import (
	"cmp"
	"context"
	"fmt"

	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Arm is the commit point of a prepared attempt: one write, after which the next boot is the trial. An error leaves
// nothing armed, as far as the loader can be written at all.
//
// With Kexec the loader is left disarmed: the caller starts the target itself, and whatever happens to it, the firmware
// comes back to the default. If power fails before, the attempt ends as fallen back. Arm without Kexec may
// follow, when the target could not be started. Confirm then asks whether the firmware would start it too: see ErrCold.
func (m *Machine) Arm(ctx context.Context, o Options) (attempt.Attempt, error) {
	a, err := m.attempt()
	switch {
	case err != nil:
		return attempt.Attempt{}, fmt.Errorf("arm: %w", err)
	case a == nil || a.State != attempt.Prepared && a.State != attempt.Armed:
		return attempt.Attempt{}, fmt.Errorf("arm: no attempt is prepared (begin with an upgrade or a rollback)")
	}
	err = m.walk(ctx, []step{{progress.StepArm, func(context.Context) error { return m.arm(a, o) }}}, o.Progress)
	if err != nil {
		return *a, fmt.Errorf("%s to %s: %w", a.Kind, a.Version, err)
	}
	return *a, nil
}

// arm is Arm's one step. If power fails
//
//	before META says armed      default; the attempt ends as abandoned
//	before the loader is armed  default; the attempt ends as fallen back, not known to have started
//	after it                    the trial, as often as it is counted, then the default
func (m *Machine) arm(a *attempt.Attempt, o Options) error {
	to := m.slot(a.To)
	if to.Content != report.Complete || to.Manifest.Image != a.Image {
		return fmt.Errorf("%s, not version %s (begin again with an upgrade): %w", to, a.Version, ErrNotComplete)
	}
	way := cmp.Or(o.Way, a.Way, m.Way)
	if err := m.tryBy(way); err != nil {
		return err
	}
	if err := m.forgetTry(); err != nil {
		return err
	}
	a.State, a.Tries, a.Way, a.Trials, a.Kexec = attempt.Armed, o.Tries, way, 0, o.Kexec
	if a.Stage {
		a.Boots.Prepared = m.BootID // or Started would take this boot for one that came back from the trial
	}
	m.see(a)
	err := m.record(a, nil)
	if err != nil {
		return err
	}
	m.at(string(a.Kind), "arm the loader")
	if o.Kexec {
		err = m.Loader.Disarm()
	} else {
		err = m.Loader.Arm(a.To, o.tries())
	}
	if err == nil {
		return nil
	}
	if undo := m.Loader.Disarm(); undo != nil {
		return fmt.Errorf("%w (and disarm: %v)", err, undo)
	}
	if note := m.end(a, attempt.Abandoned, "it could not be armed: "+err.Error()); note != nil {
		m.log.Warn("the end of the attempt is not recorded", "reason", note)
	}
	return err
}

// end records how an attempt ended.
func (m *Machine) end(a *attempt.Attempt, r attempt.Result, reason string) error {
	a.State, a.Result, a.Reason, a.Boots.Ended, a.Seen = attempt.Ended, r, reason, m.BootID, nil
	return m.record(a, nil)
}
