package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// recordTime bounds how long the reason of a failed trial may take to reach META. The restart does not wait longer.
const recordTime = 10 * time.Second

// confirmTries is how often a confirmation is tried, a second apart; another program may hold the disk for a moment.
const confirmTries = 3

// state of a trial, as the API names it.
type state string

const (
	none      state = ""          // this boot is no trial, or Start has not been called
	waiting   state = "waiting"   // for Prove
	running   state = "running"   // the checks
	confirmed state = "confirmed" // for good
	failed    state = "failed"    // the machine restarts, or was asked to
)

// trial is the trial that this boot may be.
type trial struct {
	mu       sync.Mutex
	state    state
	check    string // that runs
	reason   string // once failed
	gone     bool   // giveUp has begun
	deadline time.Time
	timer    *time.Timer
}

// move changes the state if it is one of from, and reports whether it was.
func (t *trial) move(to state, reason string, from ...state) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range from {
		if t.state == f {
			t.state, t.reason = to, reason
			return true
		}
	}
	return false
}

func (t *trial) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}

// Start is called once in every boot, early, before EPHEMERAL is mounted: it records the boot, and ends an attempt that
// fell back. On a trial it wipes EPHEMERAL unless that is preserved, and the trial's deadline begins. What goes wrong on
// a trial gives the trial up: the reason is recorded and the machine restarts. Elsewhere it is the error, and Status
// tells it too; the machine can go on.
//
// An upgrade that was staged before this boot is armed now, and the machine restarts into its trial: ErrRestarting. One
// that cannot be applied has failed for good; that is told like any other error.
func (s *Server) Start(ctx context.Context) (upgrade.Boot, error) {
	op := s.newBrief("start")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return upgrade.Boot{}, err
	}
	var boot upgrade.Boot
	err := s.with(false, func(m machine) (err error) {
		if st, err := m.Status(); err == nil && st.Loader.Trial() {
			s.begin()
		}
		if boot, err = m.Started(ctx); boot.Trial {
			s.begin()
		}
		return err
	})
	s.queue.leave()
	op.end(err)
	if err == nil && boot.Staged {
		err = s.applyStaged(ctx)
	}
	switch {
	case errors.Is(err, ErrRestarting):
	case err != nil && s.checks() != nil:
		err = fmt.Errorf("start of a trial: %w", err)
		s.giveUp(err.Error())
	case err != nil:
		s.setProblem(err)
	case boot.Trial:
		s.log.Info("this boot is a trial", "deadline", s.config.TrialDeadline, "checks", len(s.config.Checks))
	case boot.Attempt != nil:
		s.log.Info("the latest attempt", "attempt", boot.Attempt.String())
	}
	return boot, err
}

// begin starts the clock of a trial, once.
func (s *Server) begin() {
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != none {
		return
	}
	t.state, t.deadline = waiting, time.Now().Add(s.config.TrialDeadline)
	t.timer = time.AfterFunc(s.config.TrialDeadline, func() {
		t.mu.Lock()
		reason := fmt.Sprintf("not confirmed within %s", s.config.TrialDeadline)
		switch {
		case t.state == running && t.check != "":
			reason += fmt.Sprintf(": check %q has not answered", t.check)
		case t.state == waiting:
			reason += ": the system did not come up so far that its checks began"
		}
		t.mu.Unlock()
		s.giveUp(reason)
	})
}

func (s *Server) setProblem(err error) {
	s.log.Error("problem", "reason", err)
	s.mu.Lock()
	s.problem = err.Error()
	s.mu.Unlock()
}

// Prove is called in every boot once the system is up. On a trial it runs the checks one after the other, then confirms.
// A check that fails or does not answer in time gives the trial up: the reason is recorded, the machine restarts, and
// the error says why. When this boot is no trial there is nothing to prove. When ctx ends early the trial is left open,
// and its deadline goes on. At last what an upgrade disturbed is undone (rejoin, uncordon); a problem with that is told
// by Status, and the next Prove tries again.
//
// The first check is our own: the service can read its machine, and what runs is what the attempt wrote. It says nothing
// about the system's work; that is for the checks in Config. With a Window the checks go on, and have to hold, for as
// long as it says.
func (s *Server) Prove(ctx context.Context) error {
	if err := s.prove(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		s.setProblem(err)
	}
	return nil
}

func (s *Server) prove(ctx context.Context) error {
	t := &s.trial
	if !t.move(running, "", waiting) {
		return t.why()
	}
	if len(s.config.Checks) == 0 {
		s.log.Warn("no checks are given: the trial is confirmed once the service can read its machine")
	}
	if err := s.migrate(ctx); err != nil {
		return s.unproved(ctx, err)
	}
	if err := s.check(ctx, voice{s.journal, "trial"}); err != nil {
		return s.unproved(ctx, err)
	}
	if err := s.stay(ctx); err != nil {
		return s.unproved(ctx, err)
	}
	t.now("")
	if err := s.confirm(ctx); err != nil {
		return s.unproved(ctx, err)
	}
	return t.why()
}

// allChecks are our own, then those of Config.
func (s *Server) allChecks() []Check { return append([]Check{s.own()}, s.config.Checks...) }

// check runs the checks once.
func (s *Server) check(ctx context.Context, to teller) error {
	t := &s.trial
	for _, check := range s.allChecks() {
		limited, cancel := context.WithDeadline(ctx, t.now(check.Name))
		s.log.Info("check", "name", check.Name)
		err := s.task(limited, to, "checks", check)
		cancel()
		if err != nil {
			return fmt.Errorf("check %q: %w", check.Name, err)
		}
	}
	return nil
}

// windowEvery is how often the checks run again in a window, at most.
const windowEvery = time.Second

// stay has the checks hold for as long as Config.Window says.
func (s *Server) stay(ctx context.Context) error {
	end := time.Now().Add(s.config.Window)
	for time.Now().Before(end) {
		s.trial.now("window")
		select {
		case <-time.After(min(time.Until(end), max(s.config.Window/10, windowEvery))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.check(ctx, silent{}); err != nil {
			return fmt.Errorf("within the window of %s: %w", s.config.Window, err)
		}
	}
	return nil
}

// silent is for checks that run again and again.
type silent struct{}

func (silent) tell(*pawlv1.Event) {}

// now says which check runs, and until when it may.
func (t *trial) now(check string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.check = check
	return t.deadline
}

// migrate runs the hooks of PhaseMigrate. It is marked first, so that the old version goes back if the trial fails.
func (s *Server) migrate(ctx context.Context) error {
	if len(s.hooks(PhaseMigrate)) == 0 {
		return nil
	}
	op := s.newBrief("migrate")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	limited, cancel := context.WithDeadline(ctx, s.trial.now("migrate"))
	defer cancel()
	err := s.with(false, func(m machine) error {
		st, err := m.Status()
		if err != nil {
			return err
		}
		o := Occasion{Phase: PhaseMigrate, Operation: "trial"}
		if a := st.Attempt; a != nil && a.Open() {
			o.Attempt = *a
			marks := append(without(a.Marks, PhaseMigrate), upgrade.Mark{Phase: string(PhaseMigrate), Boot: s.bootID})
			if err := m.Mark(marks); err != nil {
				return err
			}
		}
		_, err = s.runHooks(limited, op, o, false)
		return err
	})
	op.end(err)
	return err
}

// unproved gives the trial up, or leaves it open if it is ctx that ended.
func (s *Server) unproved(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		s.trial.move(waiting, "", running)
		return ctx.Err()
	}
	s.giveUp(err.Error())
	return s.trial.why()
}

// why is the error of a trial that failed.
func (t *trial) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == failed {
		return errors.New(t.reason)
	}
	return nil
}

func (s *Server) confirm(ctx context.Context) error {
	op := s.newBrief("confirm")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	var err error
	for try := range confirmTries {
		if err = s.confirmOnce(ctx, try); err == nil || ctx.Err() != nil {
			break
		}
		s.log.Warn("confirm", "reason", err)
	}
	op.end(err)
	return err
}

func (s *Server) confirmOnce(ctx context.Context, try int) error {
	if try > 0 {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.with(false, func(m machine) error {
		if s.trial.why() != nil { // rolled back by hand, or out of time
			return nil
		}
		a, err := m.Confirm(ctx, upgrade.Options{})
		if err != nil {
			return err
		}
		s.trial.move(confirmed, "", running)
		s.trial.stop()
		if a == nil {
			s.log.Info("confirmed")
		} else {
			s.log.Info("confirmed", "attempt", a.String())
		}
		return nil
	})
}

// giveUp ends a trial that failed: its reason is recorded if that can be done soon, then the machine restarts.
func (s *Server) giveUp(reason string) {
	if !s.trial.giveUp(reason) {
		return
	}
	s.log.Error("the trial is given up", "reason", reason)
	ctx, cancel := context.WithTimeout(s.ctx, recordTime)
	defer cancel()
	recorded := make(chan error, 1)
	go func() { recorded <- s.record(ctx, reason) }()
	select {
	case err := <-recorded:
		if err != nil {
			s.log.Error("the reason is not recorded", "reason", err)
		}
	case <-ctx.Done():
		s.log.Error("the reason is not recorded in time")
	}
	if s.ctx.Err() == nil {
		s.restartNow("the trial failed: " + reason)
	}
}

func (t *trial) giveUp(reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone || t.state == none || t.state == confirmed {
		return false
	}
	t.gone = true
	if t.state != failed {
		t.state, t.reason = failed, reason
	}
	return true
}

// record writes why the trial failed into META.
func (s *Server) record(ctx context.Context, reason string) error {
	op := s.newBrief("record why the trial failed")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	err := s.with(false, func(m machine) error { return m.Failed(ctx, reason) })
	op.end(err)
	return err
}
