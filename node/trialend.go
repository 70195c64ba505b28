package node

import (
	"context"
	"errors"
	"time"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

func (s *Server) confirm(ctx context.Context) error {
	return s.briefly(ctx, "confirm", func(*Operation) (err error) {
		s.at("trial", Phase(progress.StepConfirm))
		for try := range maxTries {
			err = s.confirmOnce(ctx, try)
			final := errors.Is(err, upgrade.ErrCold) || errors.Is(err, upgrade.ErrUnordered)
			if err == nil || ctx.Err() != nil || final {
				break
			}
			s.log.Warn("confirm", "reason", err)
		}
		return err
	})
}

func (s *Server) confirmOnce(ctx context.Context, try int) error {
	if try > 0 {
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return s.with(false, func(m machine) error {
		if s.trial.why() != nil || s.trial.wasConfirmed() { // rolled back or confirmed by hand, or out of time
			return nil
		}
		if err := m.Reached(ctx, "confirm"); err != nil {
			s.log.Warn("trial", "reason", err)
		}
		a, err := m.Confirm(ctx, upgrade.Options{})
		if err != nil {
			return err
		}
		s.isConfirmed(a)
		return nil
	})
}

// isConfirmed ends a trial, if this boot is one. a may be nil.
func (s *Server) isConfirmed(a *attempt.Attempt) {
	s.trial.move(TrialConfirmed, "", TrialWaiting, TrialRunning)
	s.trial.stop()
	s.guard.on(guardDisarm, time.Time{})
	if a == nil {
		s.log.Info("confirmed")
	} else {
		s.log.Info("confirmed", "attempt", a.String())
	}
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
	s.guard.on(guardHurry, time.Now().Add(recordTime))
	ctx, cancel := context.WithTimeout(s.ctx, recordTime)
	defer cancel()
	recorded := make(chan error, 1)
	go func() { recorded <- s.recordWhy(ctx, reason, record) }()
	select {
	case err := <-recorded:
		if err != nil {
			s.log.Error("the reason is not recorded", "reason", err)
		}
	case <-ctx.Done():
		s.log.Error("the reason is not recorded in time")
	}
	if s.ctx.Err() == nil {
		_ = s.restartNow("the trial failed: " + reason)
	}
}

func (t *trial) giveUp(reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone || t.state == TrialNone || t.state == TrialConfirmed {
		return false
	}
	t.gone = true
	if t.state != TrialFailed {
		t.state, t.reason = TrialFailed, reason
	}
	return true
}

// recordWhy has the machine write down why the trial ends.
func (s *Server) recordWhy(ctx context.Context, reason string, record func(machine, context.Context,
	string) error) error {
	return s.briefly(ctx, "record why the trial failed", func(*Operation) error {
		return s.with(false, func(m machine) error { return record(m, ctx, reason) })
	})
}
