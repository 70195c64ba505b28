package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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

// open reports whether this boot is a trial that has not been confirmed.
func (t *trial) open() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state != none && t.state != confirmed
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
//
// Config.Watchdog is armed before anything else, and stays so on a trial.
func (s *Server) Start(ctx context.Context) (upgrade.Boot, error) {
	defer s.recorded()
	s.guard.arm(time.Now().Add(s.config.TrialDeadline + recordTime))
	boot, err := s.begin(ctx)
	if s.checks() == nil && !errors.Is(err, ErrRestarting) {
		s.guard.disarm()
	}
	return boot, err
}

func (s *Server) begin(ctx context.Context) (upgrade.Boot, error) {
	op := s.newBrief("start")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return upgrade.Boot{}, err
	}
	var boot upgrade.Boot
	err := s.with(false, func(m machine) (err error) {
		if st, version, err := m.Runs(); err == nil {
			if st.Trial() {
				s.startClock()
				s.log.Info("trial", "phase", upgrade.Started)
			}
			s.mark(upgrade.BootMark(s.bootID, st.Active, version))
		}
		if boot, err = m.Started(ctx); boot.Trial {
			s.startClock()
		}
		return err
	})
	if err == nil && boot.Staged {
		next := s.newBrief("apply the staged upgrade")
		s.queue.replace(next) // whoever waits for the start comes after it
		op.end(nil)
		s.recorded()
		s.guard.arm(time.Time{}) // this is no trial, and reading back takes as long as it takes
		err = s.applyStaged(ctx, next)
	} else {
		s.queue.leave()
		op.end(err)
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

// startClock starts the clock of a trial, once.
func (s *Server) startClock() {
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != none {
		return
	}
	t.state, t.deadline = waiting, time.Now().Add(s.config.TrialDeadline)
	s.guard.arm(t.deadline.Add(recordTime))
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
		s.late(reason)
	})
}

func (s *Server) setProblem(err error) {
	s.log.Error("problem", "reason", err)
	s.mu.Lock()
	s.problem = err.Error()
	s.mu.Unlock()
}

func (s *Server) confirm(ctx context.Context) error {
	op := s.newBrief("confirm")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	s.log.Info("trial", "phase", upgrade.StepConfirm)
	var err error
	for try := range confirmTries {
		if err = s.confirmOnce(ctx, try); err == nil || ctx.Err() != nil || errors.Is(err, upgrade.ErrCold) {
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
		if err := m.Reached(ctx, "confirm"); err != nil {
			s.log.Warn("trial", "reason", err)
		}
		a, err := m.Confirm(ctx, upgrade.Options{})
		if err != nil {
			return err
		}
		s.trial.move(confirmed, "", running)
		s.trial.stop()
		s.guard.disarm()
		if a == nil {
			s.log.Info("confirmed")
		} else {
			s.log.Info("confirmed", "attempt", a.String())
		}
		return nil
	})
}

// giveUp ends a trial that failed, for good: tries that are left are not used, since a check has said no. The reason is
// recorded if that can be done soon, then the machine restarts.
func (s *Server) giveUp(reason string) { s.leave(reason, machine.Failed) }

// late ends this boot of a trial, because nothing was said in time. The tries that are left are used.
func (s *Server) late(reason string) { s.leave(reason, machine.Late) }

func (s *Server) leave(reason string, record func(machine, context.Context, string) error) {
	if !s.trial.giveUp(reason) {
		return
	}
	s.log.Error("the trial is given up", "reason", reason)
	s.guard.atMost(time.Now().Add(recordTime))
	ctx, cancel := context.WithTimeout(s.ctx, recordTime)
	defer cancel()
	recorded := make(chan error, 1)
	go func() { recorded <- s.record(ctx, reason, record) }()
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

// record has the machine write down why the trial ends.
func (s *Server) record(ctx context.Context, reason string, record func(machine, context.Context, string) error) error {
	op := s.newBrief("record why the trial failed")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	err := s.with(false, func(m machine) error { return record(m, ctx, reason) })
	op.end(err)
	return err
}
