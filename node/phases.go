package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// What the phases of a sequence do beside its hooks, in the order of the sequence.

// resolve finds the image and opens the machine, and tells the plan.
func (q *sequence) resolve(ctx context.Context) error {
	var err error
	if q.s.trial.open() { // before a registry that does not answer keeps the trial from its confirmation
		return fmt.Errorf("%s: %w", q.op.name, upgrade.ErrTrial)
	}
	if err := q.s.checkUnmount(); err != nil && q.request.Reboot {
		return fmt.Errorf("%s: %w", q.op.name, err)
	}
	begun := time.Now()
	q.tell(progress.Event{Step: stepResolve})
	q.img, err = q.s.pull(ctx, q.request.Image)
	warning := ""
	if err == nil {
		warning, err = q.allowClient()
	}
	q.tell(progress.Event{Step: stepResolve, Done: true, Err: err, Elapsed: time.Since(begun)})
	if err != nil {
		return fmt.Errorf("%s: %w", q.op.name, err)
	}
	if q.m, err = q.s.open(false); err != nil {
		return fmt.Errorf("%s: %w", q.op.name, err)
	}
	plan, err := q.m.Plan(ctx, q.img, q.options())
	if err != nil {
		return err
	}
	if warning != "" {
		plan.Warnings = append(plan.Warnings, warning)
	}
	q.planned = attemptOf(plan)
	q.op.tell(q.s.whole(plan, q.request))
	return nil
}

// attemptOf is the attempt that a plan would make.
func attemptOf(p upgrade.Plan) attempt.Attempt {
	return attempt.Attempt{
		Kind: p.Kind, From: p.From, To: p.To, Old: p.Old, Version: p.Version, Image: p.Image, Reference: p.Reference,
		Preserve: p.Preserve,
	}
}

// allowClient asks whether the command that ordered this is new enough for the image. What is forced, or cannot be
// told, is a warning.
func (q *sequence) allowClient() (warning string, err error) {
	lowest := q.img.Annotations[versions.ClientAnnotation]
	err = versions.AllowClient(q.request.Client, lowest)
	switch {
	case err != nil && q.request.Force:
		return err.Error(), nil
	case err == nil && lowest != "" && !versions.Comparable(q.request.Client):
		warning = fmt.Sprintf("The image wants pawl %s or later, and the version of the one that asks, %q, cannot be "+
			"compared.", lowest, q.request.Client)
	}
	return warning, err
}

func (q *sequence) prepare(ctx context.Context) (err error) {
	q.attempt, err = q.m.Prepare(ctx, q.img, q.options())
	q.marks = q.attempt.Marks
	return err
}

// stage prepares for the next boot.
func (q *sequence) stage(ctx context.Context) (err error) {
	q.attempt, err = q.m.Stage(ctx, q.img, q.options())
	q.marks = q.attempt.Marks
	q.expected, q.then.reboot = q.s.expectTrial(q.attempt), q.request.Reboot
	return err
}

// loadTrial loads the kernel of the target, if the trial is to be started by kexec.
func (q *sequence) loadTrial(context.Context) error {
	if q.attempt.Open() {
		q.then.loaded = q.s.load(q.op, q.m, q.attempt.To, true, q.request.Mode)
		q.then.trial = q.then.loaded
	}
	return nil
}

// loadRunning loads the kernel that runs, for the restart after which a staged upgrade is applied.
func (q *sequence) loadRunning(context.Context) error {
	q.then.loaded = q.s.loadNext(q.op, q.m, q.request.Mode)
	return nil
}

func (q *sequence) arm(ctx context.Context) (err error) {
	if !q.attempt.Open() {
		return nil
	}
	o := q.options()
	o.Kexec = q.then.loaded
	a, err := q.m.Arm(ctx, o)
	if err != nil {
		return err // q.attempt is still the one to be undone
	}
	q.attempt = a
	q.expected, q.then.reboot = q.s.expectTrial(q.attempt), q.request.Reboot
	return err
}

// open opens the machine for a rollback, and sees what it would do.
func (q *sequence) open(context.Context) (err error) {
	if q.m, err = q.s.open(false); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if len(q.s.hooks(PhaseAllow)) == 0 {
		return nil
	}
	st, err := q.m.Status()
	if err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	a := st.Attempt
	q.givesUp = st.Loader.Trial() || st.Loader.Armed != bootloader.None || a != nil && (a.State == attempt.Staged ||
		a.State == attempt.Armed)
	from := st.Running()
	q.planned = attempt.Attempt{Kind: attempt.Rollback, From: from.Slot, To: from.Slot.Other(),
		Old: from.Manifest.Version, Preserve: true}
	for _, to := range st.Slots {
		if to.Slot == q.planned.To {
			q.planned.Version, q.planned.Image, q.planned.Reference = to.Manifest.Version, to.Manifest.Image,
				to.Manifest.Reference
		}
	}
	return nil
}

func (q *sequence) rollback(ctx context.Context) (err error) {
	q.attempt, err = q.m.PrepareRollback(ctx, q.options())
	q.marks = q.attempt.Marks
	if err == nil && q.attempt.Open() && q.request.Reboot {
		err = q.s.checkUnmount()
	}
	if err != nil || q.attempt.Open() {
		return err
	}
	st, err := q.m.Status()
	if err != nil {
		return err
	}
	if st.Loader.Trial() {
		q.s.trial.move(TrialFailed, "rolled back by hand", TrialWaiting, TrialRunning)
	}
	q.expected, q.then.reboot = q.s.expectNext(st), q.request.Reboot && st.Loader.Trial()
	return nil
}
