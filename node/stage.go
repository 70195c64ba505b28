package node

import (
	"context"
	"errors"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// CancelStage gives up the staged upgrade; upgrade.ErrNotStaged if there is none.
func (s *Server) CancelStage(ctx context.Context) (a upgrade.Attempt, err error) {
	op := s.newOperation("cancel the staged upgrade")
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.queue.enterSoon(soon, op); err != nil {
		return a, err
	}
	err = s.with(false, func(m machine) error {
		a, err = m.Unstage(ctx)
		return err
	})
	s.queue.leave()
	op.end(err)
	return a, err
}

// ErrRestarting is returned by Start when the machine is about to restart. Do: mount nothing, and wait.
var ErrRestarting = errors.New("the machine restarts")

// applyStaged arms what was staged and restarts the machine into its trial. What cannot be applied has failed for good,
// and the machine goes on as it is.
func (s *Server) applyStaged(ctx context.Context) error {
	op := s.newBrief("apply the staged upgrade")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	err := s.with(false, func(m machine) error {
		a, err := m.ApplyStaged(ctx, upgrade.Options{Progress: func(e upgrade.Event) {
			s.logStep(op, e)
			op.tell(&pawlv1.Event{Event: &pawlv1.Event_Progress{Progress: wireProgress(e)}})
		}})
		if err == nil {
			s.log.Info("the staged upgrade is armed", "attempt", a.String())
		}
		return err
	})
	op.end(err)
	if err != nil {
		return err
	}
	if err := s.restartNow("the staged upgrade is armed"); err != nil {
		return err
	}
	return ErrRestarting
}
