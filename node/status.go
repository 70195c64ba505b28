package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// Status reads the machine afresh, beside an operation that may run, and tells of the operation and of the trial's
// checks. While an operation changes the disk, a reading that fails is a warning; otherwise it is an error. Callers at the same
// time share what was read.
func (s *Server) Status(ctx context.Context) (*pawlv1.StatusResponse, error) {
	w := &pawlv1.StatusResponse{BootId: s.bootID}
	st, err := s.reads.ask(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		w = wireStatus(st)
	}
	op, running := s.queue.latest()
	if err != nil {
		if !running {
			return nil, err
		}
		w.Warnings = append(w.Warnings, "the disk cannot be read while it is being changed: "+err.Error())
	}
	w.BootId = s.bootID
	w.Operation = wireOperation(op, running)
	w.Checks = s.checks()
	w.Watchdog = s.guard.say()
	s.mu.Lock()
	w.Problem, w.Undoing = s.problem, s.undoing
	s.mu.Unlock()
	w.Notes = s.notes(ctx)
	return w, nil
}

// checks is how far the trial's checks have come; nil when this boot is no trial.
func (s *Server) checks() *pawlv1.Checks {
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == none {
		return nil
	}
	w := &pawlv1.Checks{State: string(t.state), Running: t.check, Reason: t.reason, Deadline: wireTime(t.deadline)}
	for _, c := range s.allChecks() {
		w.Names = append(w.Names, c.Name)
		if c.Own {
			w.Own = append(w.Own, c.Name)
		}
	}
	return w
}

// Plan says what Upgrade would do, or fails as it would, but for the version of the client that an image may ask for: only
// Upgrade looks at that. It changes nothing, reads no layer, and needs no turn.
func (s *Server) Plan(ctx context.Context, r *pawlv1.PlanRequest) (*pawlv1.Plan, error) {
	if err := checkReference("plan", r.Image); err != nil {
		return nil, err
	}
	if err := s.checkUnmount(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	img, err := s.pull(ctx, r.Image)
	if err != nil {
		return nil, err
	}
	select {
	case s.planning <- struct{}{}:
		defer func() { <-s.planning }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var plan upgrade.Plan
	err = s.with(true, func(m machine) (err error) {
		plan, err = m.Plan(ctx, img, upgrade.Options{Preserve: r.Preserve, Force: r.Force, Trial: r.Trial})
		return err
	})
	if err != nil {
		return nil, err
	}
	order := &pawlv1.UpgradeRequest{Reboot: true}
	w := wirePlan(plan, s.asks(order), s.follows(order))
	o := Occasion{Phase: PhaseAllow, Operation: "plan", Attempt: attemptOf(plan), Force: r.Force}
	if _, err := s.runHooks(ctx, silent{}, o, false); err != nil {
		w.Warnings = append(w.Warnings, fmt.Sprintf("An upgrade would be refused now: %s: %v.", PhaseAllow, err))
	}
	return w, ctx.Err()
}

// noteTime bounds how long Config.Notes may take.
const noteTime = 2 * time.Second

// notes are what the system has to say in the status.
func (s *Server) notes(ctx context.Context) []string {
	if s.config.Notes == nil {
		return nil
	}
	said := make(chan []string, 1)
	err := Check{Deadline: noteTime, Run: func(ctx context.Context) error {
		said <- s.config.Notes(ctx)
		return nil
	}}.run(ctx)
	if err != nil {
		return []string{"what else there is to say is not known: " + err.Error()}
	}
	return <-said
}
