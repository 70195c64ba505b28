package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/upgrade"
)

// undoes is the phase that undoes another, and whether there is something to undo after a restart.
func undoes(p string) (undo Phase, lasts bool) {
	for _, d := range disturbances {
		if string(d.name) == p {
			return d.undo, d.lasts
		}
	}
	if p == string(PhaseMigrate) {
		return PhaseRevert, true
	}
	return "", false
}

// undo undoes the marked phases in reverse and returns the marks of what could not be undone.
func (s *Server) undo(ctx context.Context, tell teller, o Occasion, marks []upgrade.Mark) (left []upgrade.Mark, err error) {
	var errs []error
	for i := len(marks) - 1; i >= 0; i-- {
		mark := marks[i]
		undo, lasts := undoes(mark.Phase)
		if undo == "" || mark.Boot != s.bootID && !lasts {
			continue
		}
		o.Phase, o.Sure = undo, mark.Ours
		s.log.Info(o.Operation, "phase", undo)
		var err error
		if undo == PhaseMount {
			err = s.mounts.back()
		}
		_, failed := s.runHooks(ctx, tell, o, true)
		if err = errors.Join(err, failed); err != nil {
			s.log.Error(o.Operation, "phase", undo, "reason", err)
			left = append([]upgrade.Mark{mark}, left...)
			errs = append(errs, fmt.Errorf("%s: %w", undo, err))
		}
	}
	return left, errors.Join(errs...)
}

// settle undoes what an attempt left behind that is over, or whose sequence died with the service: in the new version
// once it is confirmed, in the old one once it runs again. What cannot be undone is tried again by the next Prove.
func (s *Server) settle(ctx context.Context) error {
	a, trial, err := s.marked(ctx)
	if err != nil || a == nil || trial {
		return err
	}
	op := s.newBrief("settle")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return err
	}
	defer s.queue.leave()
	if a, trial, err = s.marked(ctx); err != nil || a == nil || trial { // another operation may have come first
		op.end(err)
		return err
	}
	err = s.with(false, func(m machine) error {
		marks := a.Marks
		if a.Phase == upgrade.Prepared {
			if err := m.Abandon(ctx, "the node service ended in the middle of it"); err != nil {
				return err
			}
		}
		if a.Result == upgrade.Confirmed { // the new configuration is there to stay
			marks = without(marks, PhaseMigrate)
		}
		left, err := s.undo(ctx, op, Occasion{Operation: "settle", Attempt: *a}, marks)
		return errors.Join(err, m.Mark(left))
	})
	op.end(err)
	if err != nil {
		return fmt.Errorf("undo what the attempt left: %w", err)
	}
	return nil
}

// marked is the latest attempt if it has marks.
func (s *Server) marked(ctx context.Context) (a *upgrade.Attempt, trial bool, err error) {
	st, err := s.status(ctx)
	if err == nil && st.Attempt != nil && len(st.Attempt.Marks) > 0 {
		a, trial = st.Attempt, st.Loader.Trial()
	}
	return a, trial, err
}

func without(marks []upgrade.Mark, p Phase) (left []upgrade.Mark) {
	for _, m := range marks {
		if m.Phase != string(p) {
			left = append(left, m)
		}
	}
	return left
}
