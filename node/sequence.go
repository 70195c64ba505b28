package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// Steps of the sequence that are not steps of package upgrade.
const (
	stepResolve upgrade.Step = "resolve" // the reference becomes a digest
	stepReboot  upgrade.Step = "reboot"
)

// phase is one part of the sequence around an upgrade. Everything before "arm" leaves the node as it was and serving.
type phase struct {
	name string
	do   func(context.Context) error
}

// sequence is one upgrade or rollback on its way through its phases.
type sequence struct {
	s        *Server
	op       *Operation
	request  *pawlv1.UpgradeRequest
	img      *image.Image
	m        machine
	attempt  upgrade.Attempt
	expected *pawlv1.Expected
	reboot   bool
}

// Upgrade begins an upgrade and returns while it runs; ErrBusy if another operation does. Follow tells how it goes on. It
// ends when ctx does, unless it is armed already; ctx is not the context of a caller who may go away. The order is that
// of "disturb late":
//
//	resolve   nothing is changed
//	prepare   the target is written, read back and completed, while the node serves
//	arm       the commit point
//	reboot    if asked, and only then
func (s *Server) Upgrade(ctx context.Context, r *pawlv1.UpgradeRequest) (*Operation, error) {
	if r.Image == "" {
		return nil, errNoImage("upgrade")
	}
	return s.start(ctx, "upgrade to "+r.Image, func(ctx context.Context, op *Operation) (bool, error) {
		q := &sequence{s: s, op: op, request: r}
		return q.walk(ctx, []phase{
			{"resolve", q.resolve},
			{"prepare", q.prepare},
			{"arm", q.arm},
		})
	})
}

// Rollback begins to go back to what the other slot holds, or gives up the attempt that is armed or on trial, as
// upgrade.Machine.Rollback says. Else it is as Upgrade.
func (s *Server) Rollback(ctx context.Context, r *pawlv1.RollbackRequest) (*Operation, error) {
	return s.start(ctx, "rollback", func(ctx context.Context, op *Operation) (bool, error) {
		q := &sequence{s: s, op: op, request: &pawlv1.UpgradeRequest{Reboot: r.Reboot}}
		return q.walk(ctx, []phase{{"rollback", q.rollback}})
	})
}

// walk runs the phases; with the last one done it tells the result and says whether to restart.
func (q *sequence) walk(ctx context.Context, phases []phase) (reboot bool, err error) {
	defer func() {
		if q.m == nil {
			return
		}
		if err := q.m.Close(); err != nil {
			q.s.log.Warn("close the machine", "reason", err)
		}
	}()
	for _, p := range phases {
		q.s.log.Info(q.op.name, "phase", p.name)
		if err := p.do(ctx); err != nil {
			return false, err
		}
	}
	q.op.tell(&pawlv1.Event{Event: &pawlv1.Event_Armed{Armed: &pawlv1.Armed{
		Attempt: wireAttempt(&q.attempt), Expected: q.expected, Rebooting: q.reboot,
	}}})
	return q.reboot, nil
}

func (q *sequence) options() upgrade.Options {
	return upgrade.Options{
		Preserve: q.request.Preserve, Force: q.request.Force, Tries: int(q.request.Tries),
		Progress: func(e upgrade.Event) {
			if e.Done && e.Err != nil {
				q.s.log.Error(q.op.name, "step", e.Step, "reason", e.Err)
			}
			q.op.tell(&pawlv1.Event{Event: &pawlv1.Event_Progress{Progress: wireProgress(e)}})
		},
	}
}

// resolve finds the image and opens the machine, and tells the plan.
func (q *sequence) resolve(ctx context.Context) error {
	var err error
	begun := time.Now()
	progress := q.options().Progress
	progress(upgrade.Event{Step: stepResolve})
	q.img, err = q.s.pull(ctx, q.request.Image)
	progress(upgrade.Event{Step: stepResolve, Done: true, Err: err, Elapsed: time.Since(begun)})
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
	q.op.tell(&pawlv1.Event{Event: &pawlv1.Event_Plan{Plan: wirePlan(plan, q.request.Reboot)}})
	return nil
}

func (q *sequence) prepare(ctx context.Context) (err error) {
	q.attempt, err = q.m.Prepare(ctx, q.img, q.options())
	return err
}

func (q *sequence) arm(ctx context.Context) (err error) {
	q.attempt, err = q.m.Arm(ctx, q.options())
	q.expected, q.reboot = q.s.expectTrial(q.attempt), q.request.Reboot
	return err
}

func (q *sequence) rollback(ctx context.Context) (err error) {
	if q.m, err = q.s.open(false); err != nil {
		return fmt.Errorf("rollback: %w", err)
	}
	if q.attempt, err = q.m.Rollback(ctx, q.options()); err != nil {
		return err
	}
	if q.attempt.Open() {
		q.expected, q.reboot = q.s.expectTrial(q.attempt), q.request.Reboot
		return nil
	}
	st, err := q.m.Status()
	if err != nil {
		return err
	}
	if st.Loader.Trial() {
		q.s.trial.move(failed, "rolled back by hand", waiting, running)
	}
	q.expected, q.reboot = q.s.expectNext(st), q.request.Reboot && st.Loader.Trial()
	return nil
}

// expectTrial is what follows once a is armed.
func (s *Server) expectTrial(a upgrade.Attempt) *pawlv1.Expected {
	return &pawlv1.Expected{
		BootId: s.bootID, Version: a.Version, Image: a.Image, Slot: string(a.To), Trial: true, Attempt: a.ID,
	}
}

// expectNext is what the next boot starts, as far as st says.
func (s *Server) expectNext(st upgrade.Status) *pawlv1.Expected {
	if a := st.Attempt; a != nil && a.Phase == upgrade.Armed && a.To == st.Loader.Armed {
		return s.expectTrial(*a)
	}
	e := &pawlv1.Expected{BootId: s.bootID, Trial: st.Loader.Armed != bootloader.None}
	next := st.Loader.Armed
	if next == bootloader.None {
		next = st.Loader.Default
	}
	for _, slot := range st.Slots {
		if slot.Slot == next && slot.Content == upgrade.Complete {
			e.Slot, e.Version, e.Image = string(next), slot.Manifest.Version, slot.Manifest.Image
		}
	}
	return e
}
