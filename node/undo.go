package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

// undoing is what undoes the phase of a mark. rank is the phase's place in the order of disturbing.
func undoing(p string) (d disturbance, rank int) {
	for i, d := range disturbances {
		if string(d.name) == p {
			return d, i
		}
	}
	if p == string(PhaseMigrate) { // in the trial, so after all others
		return disturbance{name: PhaseMigrate, undo: PhaseRevert, lasts: true}, len(disturbances)
	}
	return disturbance{}, len(disturbances)
}

// due reports whether there is something to undo of a mark, and what undoes it.
func (s *Server) due(m attempt.Mark) (disturbance, bool) {
	d, _ := undoing(m.Phase)
	return d, d.undo != "" && (m.Boot == s.bootID || d.lasts)
}

// unsettled is what an attempt that is over, or about to be, has left, before anything of it was tried.
func (s *Server) unsettled(st report.Status) (left []string) {
	a := st.Attempt
	if a == nil || st.Loader.Trial() || a.Open() && a.To != st.Loader.Active {
		return nil
	}
	marks := a.Marks
	if a.Open() || a.Result == attempt.Confirmed { // the loader knows of the confirm before META does
		marks = without(marks, PhaseMigrate)
	}
	for _, m := range slices.Backward(marks) {
		if d, due := s.due(m); due {
			left = append(left, fmt.Sprintf("%s: not yet", d.undo))
		}
	}
	return left
}

// undo undoes the marked phases in reverse and returns the marks of what could not be undone, and why each was not.
func (s *Server) undo(ctx context.Context, tell teller, o Occasion, marks []attempt.Mark) (left []attempt.Mark,
	err error) {
	marks = slices.SortedStableFunc(slices.Values(marks),
		func(a, b attempt.Mark) int { // some may be of an earlier attempt
			_, first := undoing(a.Phase)
			_, second := undoing(b.Phase)
			return cmp.Compare(first, second)
		})
	var errs []error
	for _, mark := range slices.Backward(marks) {
		d, due := s.due(mark)
		if !due {
			continue
		}
		err := error(nil)
		if d.outlasts && len(left) > 0 {
			err = errors.New("waits until the rest is undone")
		} else {
			o.Phase, o.Sure = d.undo, mark.Ours
			err = s.undoOne(ctx, tell, o)
		}
		if err != nil {
			left = append([]attempt.Mark{mark}, left...)
			errs = append(errs, fmt.Errorf("%s: %w", d.undo, err))
		}
	}
	s.setUndoing(errs...)
	return left, errors.Join(errs...)
}

func (s *Server) undoOne(ctx context.Context, tell teller, o Occasion) error {
	s.at(o.Operation, o.Phase)
	var err error
	if o.Phase == PhaseMount {
		err = s.mounts.back()
	}
	_, failed := s.runHooks(ctx, tell, o, true)
	if err = errors.Join(err, failed); err != nil {
		s.log.Error(o.Operation, "phase", o.Phase, "reason", err)
	}
	return err
}

// setUndoing says in the status what is left to be undone, and why.
func (s *Server) setUndoing(errs ...error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undoing = nil
	for _, err := range errs {
		s.undoing = append(s.undoing, err.Error())
	}
}

// The pause before what could not be undone is tried again, at first and at most; it doubles.
const (
	settlePause    = 5 * time.Second
	settleMaxPause = time.Minute
)

// settling tries again, in the background, until nothing is left to be undone.
type settling struct {
	mu             sync.Mutex
	running, again bool
}

// later begins to try again, with a pause first. It holds the queue only while it tries.
func (t *settling) later(s *Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = true
	if t.running {
		return
	}
	t.running = true
	go func() {
		pause := settlePause
		for t.asked() {
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return
			}
			if s.settleOnce(s.ctx) == nil {
				pause = settlePause
				continue
			}
			pause = min(2*pause, settleMaxPause)
			t.mu.Lock()
			t.again = true
			t.mu.Unlock()
		}
	}()
}

// asked reports whether there is something to try; if not, the trying is over.
func (t *settling) asked() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.again = t.again, false
	return t.running
}

// settle undoes what an attempt left behind that is over, or whose sequence died with the service: in the new version
// once it is confirmed, in the old one once it runs again. What cannot be undone is tried again until it is.
func (s *Server) settle(ctx context.Context) {
	if err := s.settleOnce(ctx); err != nil {
		s.log.Error("not all is undone; it is tried again", "reason", err)
		s.settling.later(s)
	}
}

func (s *Server) settleOnce(ctx context.Context) error {
	a, trial, err := s.marked(ctx)
	if err == nil && a != nil && !trial {
		return s.settleNow(ctx)
	}
	if err != nil {
		err = fmt.Errorf("see what an attempt left: %w", err)
		s.setUndoing(err)
		return err
	}
	s.setUndoing()
	return nil
}

// settleNow waits for its turn, and undoes what is left then: another operation may have come first.
func (s *Server) settleNow(ctx context.Context) error {
	return s.briefly(ctx, "settle", func(op *Operation) error {
		a, trial, err := s.marked(ctx)
		if err != nil || a == nil || trial {
			return err
		}
		return s.with(false, func(m machine) error {
			marks := a.Marks
			if a.State == attempt.Prepared {
				if err := m.Abandon(ctx, "the node service ended in the middle of it"); err != nil {
					return err
				}
			}
			if a.Result == attempt.Confirmed { // the new configuration is there to stay
				marks = without(marks, PhaseMigrate)
			}
			left, err := s.undo(ctx, op, Occasion{Operation: "settle", Attempt: *a}, marks)
			return errors.Join(err, m.Mark(left))
		})
	})
}

// marked is the latest attempt if it has marks.
func (s *Server) marked(ctx context.Context) (a *attempt.Attempt, trial bool, err error) {
	st, err := s.status(ctx)
	if err == nil && st.Attempt != nil && len(st.Attempt.Marks) > 0 {
		a, trial = st.Attempt, st.Loader.Trial()
	}
	return a, trial, err
}

func without(marks []attempt.Mark, p Phase) (left []attempt.Mark) {
	for _, m := range marks {
		if m.Phase != string(p) {
			left = append(left, m)
		}
	}
	return left
}
