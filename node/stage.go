package node

import (
	"context"
	"errors"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// CancelStage gives up the staged upgrade; [upgrade.ErrNotStaged] if there is none.
func (s *Server) CancelStage(ctx context.Context) (a attempt.Attempt, err error) {
	op := s.newOperation("cancel the staged upgrade")
	soon, cancel := context.WithTimeout(ctx, ownTime)
	defer cancel()
	err = s.queue.inTurn(soon, op, s.queue.enterSoon, func() error {
		return s.with(false, func(m machine) error {
			a, err = m.Unstage(ctx)
			return err
		})
	})
	return a, err
}

// ErrRestarting is returned by Start when the machine is about to restart. Do: mount nothing, and wait.
var ErrRestarting = errors.New("the machine restarts")

// applyStaged arms what was staged and restarts the machine into its trial. What cannot be applied has failed for good,
// and the machine goes on as it is. The queue is op's, and is freed only then.
func (s *Server) applyStaged(ctx context.Context, op *Operation) error {
	defer op.cancel()
	err := s.with(false, func(m machine) error {
		a, err := m.ApplyStaged(ctx, upgrade.Options{Progress: func(e progress.Event) {
			s.progress(op, e)
		}})
		if err == nil {
			s.log.Info("the staged upgrade is armed", "attempt", a.String())
		}
		return err
	})
	if err != nil {
		s.queue.leave()
		op.end(err)
		return err
	}
	next := s.newOperation(string(stepReboot))
	s.queue.replace(next)
	op.end(nil)
	err = s.restartNow("the staged upgrade is armed")
	if err != nil {
		s.queue.leave()
		next.end(err)
		return err
	}
	next.end(nil)
	return ErrRestarting
}
