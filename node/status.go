package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Status is what [Server.Status] tells.
type Status struct {
	// of the machine; zero, but for its warnings, where it cannot be read while it is changed
	report.Status
	Operation *OperationStatus // what runs now, or else what ran last in this boot; nil if nothing did
	Checks    *Checks          // of the trial that this boot is; nil on other boots
	Problem   string           // what went wrong early in this boot; empty if nothing did
	Undoing   []string         // what is left to be undone, and why, each; it is tried again until it is
	Notes     []string         // what the system has to say, a line each: see Config.Notes
	Watchdog  string           // the hardware that resets this machine if it hangs; empty when it is off
}

// OperationStatus is something that changes the node, one at a time.
type OperationStatus struct {
	Name     string // "upgrade to REF", "rollback", "reboot", "confirm"
	Begun    time.Time
	Progress *Progress // the step it is at; nil if it has reported none
	Running  bool
	Err      error  // why it ended, if it failed
	Notice   Notice // what it is waiting for, or does, as far as it tells; empty when it is over
}

// Checks is how far the checks of a trial have come.
type Checks struct {
	State    TrialState
	Running  string    // name of the check
	Reason   string    // why they failed
	Deadline time.Time // when the node gives up and restarts
	Names    []string  // of all checks, the service's own ("pawl") first
	Own      []string  // those that are Pawl's own; with no others the trial says nothing of the system's work
}

// Status reads the machine afresh, beside an operation that may run, and tells of the operation and of the trial's
// checks. While an operation changes the disk, a reading that fails is a warning; otherwise it is an error. Callers at
// the same time share what was read.
func (s *Server) Status(ctx context.Context) (Status, error) {
	machine, err := s.reads.ask(ctx)
	if ctx.Err() != nil {
		return Status{}, ctx.Err()
	}
	op, running := s.queue.latest()
	if err != nil {
		if !running {
			return Status{}, err
		}
		machine = report.Status{Warnings: []string{"the disk cannot be read while it is being changed: " +
			err.Error()}}
	}
	machine.BootID = s.bootID
	st := Status{Status: machine, Operation: op.status(running), Checks: s.checks(), Watchdog: s.guard.say(),
		Notes: s.notes(ctx)}
	s.mu.Lock()
	st.Problem, st.Undoing = s.problem, s.undoing
	s.mu.Unlock()
	if len(st.Undoing) == 0 {
		st.Undoing = s.unsettled(machine)
	}
	return st, nil
}

// status reports the operation; nil if there is none.
func (op *Operation) status(running bool) *OperationStatus {
	if op == nil {
		return nil
	}
	st := &OperationStatus{Name: op.name, Begun: op.begun, Progress: op.progress(), Running: running}
	_, st.Err = op.result()
	if running {
		st.Notice = op.notice()
	}
	return st
}

// checks is how far the trial's checks have come; nil when this boot is no trial.
func (s *Server) checks() *Checks {
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == TrialNone {
		return nil
	}
	all := &Checks{State: t.state, Running: t.check, Reason: t.reason, Deadline: t.deadline}
	for _, c := range s.allChecks() {
		all.Names = append(all.Names, c.Name)
		if c.Own {
			all.Own = append(all.Own, c.Name)
		}
	}
	return all
}

// Plan says what Upgrade would do, or fails as it would, but for the version of the client that an image may ask for:
// only Upgrade looks at that. It changes nothing, reads no layer, and needs no turn.
func (s *Server) Plan(ctx context.Context, r PlanRequest) (Plan, error) {
	if err := checkReference("plan", r.Image); err != nil {
		return Plan{}, err
	}
	if err := s.checkUnmount(); err != nil {
		return Plan{}, fmt.Errorf("plan: %w", err)
	}
	img, err := s.pull(ctx, r.Image)
	if err != nil {
		return Plan{}, err
	}
	select {
	case s.planning <- struct{}{}:
		defer func() { <-s.planning }()
	case <-ctx.Done():
		return Plan{}, ctx.Err()
	}
	var plan upgrade.Plan
	err = s.with(true, func(m machine) (err error) {
		plan, err = m.Plan(ctx, img, upgrade.Options{Preserve: r.Preserve, Force: r.Force, Way: r.Way})
		return err
	})
	if err != nil {
		return Plan{}, err
	}
	o := Occasion{Phase: PhaseAllow, Operation: "plan", Attempt: attemptOf(plan), Force: r.Force}
	listener := new(heard)
	_, err = s.runHooks(ctx, listener, o, false)
	plan.Warnings = append(plan.Warnings, listener.all()...)
	if err != nil {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("An upgrade would be refused now: %s: %v.", PhaseAllow, err))
	}
	return s.whole(plan, UpgradeRequest{Reboot: true}), ctx.Err()
}

// heard keeps what hooks report that are run for a plan alone.
type heard struct {
	mu    sync.Mutex
	texts []string
}

func (h *heard) tell(t Told) {
	if text, ok := t.(Notice); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.texts = append(h.texts, string(text))
	}
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.texts)
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
