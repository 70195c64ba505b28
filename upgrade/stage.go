package upgrade

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// maxApply is how many boots may begin to apply a staged upgrade: more than one, because the power may fail meanwhile;
// not many, because an upgrade that never gets through must not come back for ever.
const maxApply = 3

// Stage is [Machine.Prepare] for an upgrade that a later boot is to arm: the target is complete and read back now, and
// META says so with one update, the last write. The next boot finds it: see Boot.Staged and [Machine.ApplyStaged].
func (m *Machine) Stage(ctx context.Context, img *image.Image, o Options) (attempt.Attempt, error) {
	return m.prepareAs(ctx, img, o, attempt.Staged)
}

// ApplyStaged arms what [Machine.Stage] left. It is called early in a boot of the old version, before anything is
// mounted, when Boot.Staged says so; the caller then restarts the machine. An error ends the attempt with its reason,
// so that no boot comes back to it, but for two: a context that ended, and a META that cannot be written. If power
// fails before it is armed, the next boot begins again, at most three times.
func (m *Machine) ApplyStaged(ctx context.Context, o Options) (attempt.Attempt, error) {
	a, err := m.staged()
	if err != nil {
		return attempt.Attempt{}, fmt.Errorf("apply the staged upgrade: %w", err)
	}
	if a.Applying >= maxApply {
		err := fmt.Errorf("%d boots began to apply it and none came to the end", a.Applying)
		return *a, m.giveUp(a, err)
	}
	a.Applying++
	if err := m.record(a, nil); err != nil {
		a.Applying--
		return *a, fmt.Errorf("apply the staged upgrade: %w", err)
	}
	o.Tries, o.Way = a.Tries, a.Way
	op := &operation{m: m, Options: o, state: attempt.Staged, plan: Plan{From: a.From, To: a.To}}
	err = m.walk(ctx, []step{
		{progress.StepVerify, func(ctx context.Context) error { return op.verifyStaged(ctx, a) }},
		{progress.StepArm, func(context.Context) error { return m.arm(a, o) }},
	}, o.Progress)
	switch {
	case err == nil:
		return *a, nil
	case ctx.Err() != nil:
		return *a, fmt.Errorf("apply the staged upgrade: %w", err)
	}
	return *a, m.giveUp(a, err)
}

// verifyStaged looks at the machine and the target once more: days may have gone by.
func (op *operation) verifyStaged(ctx context.Context, a *attempt.Attempt) error {
	if err := op.m.tryBy(a.Way); err != nil {
		return err
	}
	st, err := op.m.ready()
	if err != nil {
		return err
	}
	if st.Active != a.From {
		return fmt.Errorf("slot %s runs, the upgrade was staged from slot %s: %w", st.Active, a.From,
			bootloader.ErrAmbiguous)
	}
	to := op.m.slot(a.To)
	if to.Content != report.Complete || to.Manifest.Image != a.Image {
		return fmt.Errorf("slot %s is %s %s, not %s: %w", a.To, to.Version(), to.Problem, a.Version, ErrNotComplete)
	}
	op.files, op.manifest = to.Manifest.Files, to.Manifest
	if err := op.m.readBack(ctx, a.To, op.files, nil, op.Progress); err != nil {
		return err
	}
	return op.rehearse(ctx, armAhead)
}

// giveUp ends a staged attempt that could not be applied, unless arm has ended it, and returns why.
func (m *Machine) giveUp(a *attempt.Attempt, why error) error {
	if a.Open() {
		if err := m.end(a, attempt.Abandoned, why.Error()); err != nil {
			m.log.Warn("the end of the attempt is not recorded", "reason", err)
		}
	}
	return fmt.Errorf("apply the staged upgrade to %s: %w", a.Version, why)
}

// Unstage gives up a staged upgrade: META says so with one update, and nothing boots differently. What the target holds
// stays until the next upgrade. With nothing staged it is [ErrNotStaged].
func (m *Machine) Unstage(context.Context) (attempt.Attempt, error) {
	a, err := m.staged()
	if err == nil {
		err = m.end(a, attempt.Abandoned, attempt.Cancelled)
	}
	if err != nil {
		return attempt.Attempt{}, fmt.Errorf("cancel the staged upgrade: %w", err)
	}
	return *a, nil
}

func (m *Machine) staged() (*attempt.Attempt, error) {
	a, err := m.attempt()
	switch {
	case err != nil:
		return nil, err
	case a == nil || a.State != attempt.Staged:
		return nil, ErrNotStaged
	}
	return a, nil
}

// Abandon gives up an attempt that was prepared or staged, with the reason. If power fails before META's one update,
// the next boot gives it up. What is armed or started is left alone: see Rollback.
func (m *Machine) Abandon(_ context.Context, reason string) error {
	a, err := m.attempt()
	switch {
	case err != nil:
		return fmt.Errorf("abandon the attempt: %w", err)
	case a == nil || a.State != attempt.Prepared && a.State != attempt.Staged:
		return nil
	}
	if err := m.end(a, attempt.Abandoned, reason); err != nil {
		return fmt.Errorf("abandon the attempt: %w", err)
	}
	return nil
}
