package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/upgrade"
)

// ErrNothingToConfirm is returned by Confirm when the running slot is the default already. Do: nothing.
var ErrNothingToConfirm = errors.New("there is nothing to confirm: the running slot is the default")

// Confirm makes what runs the default, by a person's order: a boot that no attempt ordered, which nothing else confirms, or a
// trial before its checks have passed. A trial that was given up is not confirmed any more. Afterwards comes what Prove does
// after a confirmation.
func (s *Server) Confirm(ctx context.Context) (Confirmed, error) {
	op := s.newOperation("confirm")
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.queue.enterSoon(soon, op); err != nil {
		return Confirmed{}, err
	}
	var done Confirmed
	err := s.with(false, func(m machine) error {
		st, err := m.Status()
		switch why := s.trial.why(); {
		case err != nil:
			return err
		case !st.Loader.Trial():
			return ErrNothingToConfirm
		case why != nil:
			return fmt.Errorf("the trial was given up: %w: %w", why, upgrade.ErrTrial)
		}
		a, err := m.Confirm(ctx, upgrade.Options{Ordered: true})
		if err != nil {
			return err
		}
		s.isConfirmed(a)
		done = Confirmed{Attempt: a, Slot: st.Loader.Active, Version: st.Running().Manifest.Version}
		return nil
	})
	s.queue.leave()
	op.end(err)
	if err != nil {
		return Confirmed{}, fmt.Errorf("confirm: %w", err)
	}
	go s.tidyUp(s.ctx)
	return done, nil
}
