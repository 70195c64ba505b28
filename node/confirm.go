package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/upgrade"
)

// ErrNothingToConfirm is returned by Confirm when the running slot is the default already. Do: nothing.
var ErrNothingToConfirm = errors.New("there is nothing to confirm: the running slot is the default")

// Confirm makes what runs the default, by a person's order: a boot that no attempt ordered, which nothing else
// confirms, or a trial before its checks have passed. A trial that was given up is not confirmed any more. Afterwards
// comes what Prove does after a confirmation.
func (s *Server) Confirm(ctx context.Context) (Confirmed, error) {
	op := s.newOperation("confirm")
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var done Confirmed
	err := s.queue.inTurn(soon, op, s.queue.enterSoon, func() error {
		err := s.with(false, func(m machine) (err error) {
			done, err = s.confirmBy(ctx, m)
			return err
		})
		if err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		return nil
	})
	if err != nil {
		return Confirmed{}, err
	}
	go s.tidyUp(s.ctx)
	return done, nil
}

// confirmBy confirms by order.
func (s *Server) confirmBy(ctx context.Context, m machine) (Confirmed, error) {
	st, err := m.Status()
	switch why := s.trial.why(); {
	case err != nil:
		return Confirmed{}, err
	case !st.Loader.Trial():
		return Confirmed{}, ErrNothingToConfirm
	case why != nil:
		return Confirmed{}, fmt.Errorf("the trial was given up: %w: %w", why, upgrade.ErrTrial)
	}
	a, err := m.Confirm(ctx, upgrade.Options{Ordered: true})
	if err != nil {
		return Confirmed{}, err
	}
	s.isConfirmed(a)
	return Confirmed{Attempt: a, Slot: st.Loader.Active, Version: st.Running().Manifest.Version}, nil
}
