package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// do is one phase that disturbs. It is marked in META before it begins, so that it is undone even if the power fails.
func (q *sequence) do(ctx context.Context, d disturbance) error {
	if !q.attempt.Open() {
		return nil // a rollback that gives something up: there is nothing to prepare for
	}
	begun := time.Now()
	q.tell(progress.Event{Step: progress.Step(d.name)})
	if d.unmounts || d.name == PhaseStop {
		q.s.guard.on(guardHold, time.Time{}) // from here on nobody may be able to log in
	}
	err := q.disturbOnce(ctx, d)
	q.tell(progress.Event{Step: progress.Step(d.name), Done: true, Err: err, Elapsed: time.Since(begun)})
	return err
}

func (q *sequence) disturbOnce(ctx context.Context, d disturbance) error {
	before := q.marks
	if d.undo != "" {
		q.marks = append(without(before, d.name), attempt.Mark{Phase: string(d.name), Boot: q.s.bootID})
		if err := q.m.Mark(q.marks); err != nil {
			return err
		}
	}
	did, err := q.s.runHooks(ctx, q.op, q.occasion(d.name, q.attempt), false)
	switch {
	case err != nil:
		return err
	case d.name == PhaseUnmount:
		if err := q.s.unmount(ctx, &q.s.mounts); err != nil {
			return err
		}
		did = did || len(q.s.mounts.points) > 0
	case d.name == PhaseFree:
		return q.s.isFree(ctx)
	}
	if d.undo == "" {
		return nil
	}
	if did {
		q.marks[len(q.marks)-1].Ours = true
	} else {
		q.marks = before // it was so already; perhaps it is ours from an earlier attempt
	}
	return q.m.Mark(q.marks)
}

// walk runs the phases; with the last one done it tells the result and says whether to restart.
func (q *sequence) walk(ctx context.Context, phases []phase) (then after, err error) {
	defer func() {
		if q.m == nil {
			return
		}
		if err := q.m.Close(); err != nil {
			q.s.log.Warn("close the machine", "reason", err)
		}
	}()
	q.ctx = ctx
	for _, p := range phases {
		q.s.at(q.op.name, p.name)
		err := ctx.Err()
		if over := q.attempt.ID != "" &&
			!q.attempt.Open(); over { // a rollback that gave something up has nothing left to cancel
			err = nil
		}
		if err == nil {
			err = p.do(ctx)
		}
		if err != nil {
			if p.disturbance.name != "" {
				err = fmt.Errorf("%s: %w", p.name, err)
			}
			return q.fail(p, err)
		}
	}
	q.then.armed = &Armed{Attempt: q.attempt, Expected: q.expected, Rebooting: q.then.reboot}
	return q.then, nil
}

// fail ends a sequence: what was done is undone in reverse and the attempt is given up, but for one that is staged,
// which waits for the next boot.
func (q *sequence) fail(p phase, why error) (after, error) {
	ctx := context.WithoutCancel(q.s.ctx) // also when it was cancelled
	if q.m == nil || q.attempt.ID == "" {
		return after{}, why
	}
	staged := q.attempt.State == attempt.Staged
	held := p.unmounts && q.s.config.IfHeld != HeldUndo && !q.cancelled()
	if !staged {
		if err := q.m.Abandon(ctx, why.Error()); err != nil {
			q.s.log.Warn("the end of the attempt is not recorded", "reason", err)
		}
	}
	switch {
	case staged:
		why = fmt.Errorf("%w (%s is staged all the same: the next boot applies it, unless that is cancelled)", why,
			q.attempt.Version)
	case p.unmounts && !q.cancelled():
		why = fmt.Errorf("%w (the upgrade is given up; end what holds it, or stage the upgrade, which needs nothing "+
			"to be unmounted)", why)
	}
	if held {
		return after{reboot: true}, fmt.Errorf("%w; the node restarts into the version that runs", why)
	}
	left, err := q.s.undo(ctx, q.op, q.occasion("", q.attempt), q.marks)
	if len(q.marks) > 0 {
		if err := q.m.Mark(left); err != nil {
			q.s.log.Warn("what was undone is not recorded", "reason", err)
		}
	}
	if err != nil {
		why = fmt.Errorf("%w (and not all was undone: %w)", why, err)
		q.s.settling.later(q.s)
	}
	return after{}, why
}

// cancelled reports whether it was ended from outside: then nothing is stuck.
func (q *sequence) cancelled() bool { return q.ctx.Err() != nil }

func (q *sequence) options() upgrade.Options {
	return upgrade.Options{
		Preserve: q.request.Preserve, Force: q.request.Force, Tries: q.request.Tries, Way: q.request.Way,
		Mode:     q.request.Mode,
		Progress: func(e progress.Event) { q.s.progress(q.op, e) },
	}
}

func (q *sequence) tell(e progress.Event) { q.s.tell(q.op, e) }
