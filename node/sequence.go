package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// Steps of an operation that package upgrade does not have.
const (
	stepResolve progress.Step = "resolve" // the reference becomes a digest
	stepReboot  progress.Step = "reboot"
)

// phase is one part of the sequence around an upgrade.
type phase struct {
	name Phase
	do   func(context.Context) error
	disturbance
}

// sequence is one upgrade or rollback on its way through its phases.
type sequence struct {
	s        *Server
	ctx      context.Context // of walk
	op       *Operation
	request  UpgradeRequest
	img      *image.Image
	m        machine
	planned  attempt.Attempt // what the attempt will be, for hooks that are asked before there is one
	givesUp  bool            // a rollback that gives something up: nobody is asked
	attempt  attempt.Attempt
	expected Expected
	then     after
	marks    []attempt.Mark // phases that are to be undone if one fails, those of earlier attempts included
}

// Upgrade begins an upgrade and returns while it runs; [ErrBusy] if another operation does, unless it was asked for in
// the same words: then that one is returned, so a client that was killed finds its upgrade again. Follow tells how it
// goes on. It ends when ctx does, unless it is armed already; ctx is not the context of a caller who may go away. The
// order is that of "disturb late":
//
//	resolve    nothing is changed
//	allow      if the node restarts: hooks, which may refuse
//	prepare    the target is written, read back and completed, while the node serves
//	lock, cordon, drain, leave, stop, unmount, free   if the node restarts: the hooks, then what Config.Unmount names
//	last       if the node restarts: hooks, the last that may say no
//	arm        the commit point
//	reboot     if asked, and only then
//
// A phase that fails before arm ends it: what was done is undone in reverse, and the node serves as before. If unmount
// or free fail, Config.IfHeld decides. With Stage the upgrade is armed by the next boot instead (see Start), and a
// restart into the running version needs nothing to be unmounted.
//
// With ModeKexec the trial is started by kexec, while the loader is left to boot the default: a machine that dies comes
// back in the old version. If the kernel cannot be loaded, the trial goes through the firmware.
func (s *Server) Upgrade(ctx context.Context, r UpgradeRequest) (*Operation, error) {
	if err := checkReference("upgrade", r.Image); err != nil {
		return nil, err
	}
	if !foreign.Fits(r.Client, maxVersion) {
		return nil, fmt.Errorf("upgrade: the client's version has more than %d bytes: %w", maxVersion, ErrRequest)
	}
	if err := bootloader.CheckWay(s.config.Machine.Loaders, r.Way); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrRequest)
	}
	if err := checkMode(r.Mode); err != nil {
		return nil, err
	}
	if op := s.running(r); op != nil {
		return op, nil
	}
	asked := r
	if r.Attached {
		asked = UpgradeRequest{}
	}
	return s.start(ctx, "upgrade to "+r.Image, asked, func(ctx context.Context, op *Operation) (after, error) {
		q := &sequence{s: s, op: op, request: r}
		phases := q.ask(phase{name: "resolve", do: q.resolve})
		switch {
		case r.Stage:
			phases = append(phases, phase{name: "stage", do: q.stage})
			if r.Reboot {
				phases = append(phases, q.disturb(false, q.loadRunning)...)
			}
		case r.Reboot:
			phases = append(phases, phase{name: "prepare", do: q.prepare})
			phases = append(phases, q.disturb(true, q.loadTrial)...)
			phases = append(phases, phase{name: "arm", do: q.arm})
		default:
			phases = append(phases, phase{name: "prepare", do: q.prepare}, phase{name: "arm", do: q.arm})
		}
		return q.walk(ctx, phases)
	})
}

// running is the operation that answers the same request already, and that its caller did not tie to itself.
func (s *Server) running(r UpgradeRequest) *Operation {
	op, running := s.queue.latest()
	if !running || r.Attached || op.asked != r {
		return nil
	}
	return op
}

// Rollback begins to go back to what the other slot holds, or gives up the attempt that is staged, armed or on trial,
// as [upgrade.Machine.Rollback] says. Else it is as Upgrade.
func (s *Server) Rollback(ctx context.Context, r RollbackRequest) (*Operation, error) {
	if err := checkMode(r.Mode); err != nil {
		return nil, err
	}
	return s.start(ctx, "rollback", UpgradeRequest{}, func(ctx context.Context, op *Operation) (after, error) {
		q := &sequence{s: s, op: op, request: UpgradeRequest{Reboot: r.Reboot, Mode: r.Mode, Force: r.Force}}
		phases := append(q.ask(phase{name: "open", do: q.open}), phase{name: "rollback", do: q.rollback})
		if r.Reboot {
			phases = append(phases, q.disturb(true, q.loadTrial)...)
		}
		return q.walk(ctx, append(phases, phase{name: "arm", do: q.arm}))
	})
}

// ask are the phases that change nothing: the first, which finds out what is asked for, and then whether hooks allow
// it.
func (q *sequence) ask(first phase) []phase {
	if !q.request.Reboot || len(q.s.hooks(PhaseAllow)) == 0 {
		return []phase{first}
	}
	return []phase{first, {name: PhaseAllow, do: func(ctx context.Context) error {
		if q.givesUp {
			return nil
		}
		if err := q.hooks(ctx, PhaseAllow, q.planned); err != nil {
			return fmt.Errorf("%s: %w: %w", PhaseAllow, ErrRefused, err)
		}
		return nil
	}}}
}

// hooks runs hooks that disturb nothing, so that there is nothing to undo.
func (q *sequence) hooks(ctx context.Context, p Phase, a attempt.Attempt) error {
	begun := time.Now()
	q.tell(progress.Event{Step: progress.Step(p)})
	_, err := q.s.runHooks(ctx, q.op, q.occasion(p, a), false)
	q.tell(progress.Event{Step: progress.Step(p), Done: true, Err: err, Elapsed: time.Since(begun)})
	return err
}

func (q *sequence) occasion(p Phase, a attempt.Attempt) Occasion {
	return Occasion{Phase: p, Operation: q.op.name, Attempt: a, Force: q.request.Force}
}

// disturb are the phases that disturb, then load, which loads a kernel, then the last look. Without unmounting the
// disturbances end before it.
func (q *sequence) disturb(unmount bool, load func(context.Context) error) (phases []phase) {
	for _, d := range q.s.disturbing(unmount) {
		phases = append(phases, phase{name: d.name, disturbance: d,
			do: func(ctx context.Context) error { return q.do(ctx, d) }})
	}
	phases = append(phases, phase{name: "load", do: load})
	if len(q.s.hooks(PhaseLast)) > 0 {
		phases = append(phases, phase{name: PhaseLast, do: q.last})
	}
	return phases
}

// last has hooks look once more, when nothing but the commit, or the restart, is left.
func (q *sequence) last(ctx context.Context) error {
	if !q.attempt.Open() {
		return nil
	}
	if err := q.hooks(ctx, PhaseLast, q.attempt); err != nil {
		return fmt.Errorf("%s: %w", PhaseLast, err)
	}
	return nil
}

// disturbing are the disturbances in which there is something to do.
func (s *Server) disturbing(unmount bool) (all []disturbance) {
	for _, d := range disturbances {
		if d.unmounts && !unmount {
			continue
		}
		if len(s.hooks(d.name)) > 0 || d.unmounts && len(s.config.Unmount) > 0 {
			all = append(all, d)
		}
	}
	return all
}

// whole is the plan of a whole request: with what comes before the preparation, and what follows it.
func (s *Server) whole(p upgrade.Plan, r UpgradeRequest) Plan {
	steps := []progress.Step{stepResolve}
	if r.Reboot && len(s.hooks(PhaseAllow)) > 0 {
		steps = append(steps, progress.Step(PhaseAllow))
	}
	steps = append(steps, p.Steps...)
	if r.Reboot {
		for _, d := range s.disturbing(!r.Stage) {
			steps = append(steps, progress.Step(d.name))
		}
		if len(s.hooks(PhaseLast)) > 0 {
			steps = append(steps, progress.Step(PhaseLast))
		}
	}
	if !r.Stage {
		steps = append(steps, progress.StepArm)
	}
	if r.Reboot {
		steps = append(steps, stepReboot)
	}
	p.Steps = steps
	return Plan{p}
}

func (s *Server) tell(op *Operation, e progress.Event) {
	if e.Done && e.Err != nil {
		s.log.Error(op.name, "step", e.Step, "reason", e.Err)
	}
	op.tell(Progress{e})
}

// progress tells what package upgrade does.
func (s *Server) progress(op *Operation, e progress.Event) {
	if !e.Done && e.File == "" {
		s.atStep(op.name, e.Step)
	}
	s.tell(op, e)
}
