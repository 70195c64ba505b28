package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Prove is called in every boot once the system is up. On a trial it runs the checks one after the other, then
// confirms. A check that fails or does not answer in time gives the trial up: the reason is recorded, the machine
// restarts, and the error says why. When this boot is no trial there is nothing to prove. When ctx ends early the trial
// is left open, and its deadline goes on. At last what an upgrade disturbed is undone (rejoin, uncordon, unlock); what
// cannot be is told by Status, and tried again until it is, also after Prove returned. Last of all, the loader that the
// version has brought is installed, if it differs, and a second boot file system is brought in step.
//
// The first check is our own: the service can read its machine, and what runs is what the attempt wrote. It says
// nothing about the system's work; that is for the checks in Config. With a Window the checks go on, and have to hold,
// for as long as it says.
func (s *Server) Prove(ctx context.Context) error {
	if err := s.prove(ctx); err != nil {
		return err
	}
	s.tidyUp(ctx)
	return nil
}

// tidyUp is what comes once it is settled which version runs.
func (s *Server) tidyUp(ctx context.Context) {
	s.settle(ctx)
	s.ownLoader(ctx)
	s.ownMirror(ctx)
}

func (s *Server) prove(ctx context.Context) error {
	t := &s.trial
	if !t.move(TrialRunning, "", TrialWaiting) {
		return t.why()
	}
	if !slices.ContainsFunc(s.allChecks(), func(c Check) bool { return !c.Own }) {
		s.log.Warn("no checks are given: the trial is confirmed once the service can read its machine")
	}
	if err := s.migrate(ctx); err != nil {
		return s.unproved(ctx, err)
	}
	s.at("trial", "checks")
	if err := s.check(ctx, named{s.journal, "trial"}); err != nil {
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
		if to != (silent{}) {
			s.reached(ctx, fmt.Sprintf("check %q", check.Name))
		}
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
	if s.config.Window > 0 {
		s.at("trial", "window", "for", s.config.Window)
	}
	end := time.Now().Add(s.config.Window)
	if s.config.Window > 0 {
		s.reached(ctx, "window")
	}
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

func (silent) tell(Told) {}

// reached records how far the trial has come, for whoever has to find out why it went no further. It holds nothing up.
func (s *Server) reached(ctx context.Context, where string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	op := newOperation("record how far the trial is", newJournal(s.bootID)) // of no interest to who follows the events
	op.brief = true
	err := s.queue.inTurn(ctx, op, s.queue.enterSoon, func() error {
		return s.with(false, func(m machine) error { return m.Reached(ctx, where) })
	})
	if err != nil {
		s.log.Warn("how far the trial is, is not recorded", "reached", where, "reason", err)
	}
}

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
	return s.briefly(ctx, "migrate", func(op *Operation) error {
		s.at("trial", PhaseMigrate)
		limited, cancel := context.WithDeadline(ctx, s.trial.now("migrate"))
		defer cancel()
		return s.with(false, func(m machine) error { return s.migrateOn(limited, op, m) })
	})
}

func (s *Server) migrateOn(ctx context.Context, op *Operation, m machine) error {
	st, err := m.Status()
	if err != nil {
		return err
	}
	o := Occasion{Phase: PhaseMigrate, Operation: "trial"}
	if a := st.Attempt; a != nil && a.Open() {
		o.Attempt = *a
		marks := append(without(a.Marks, PhaseMigrate), attempt.Mark{Phase: string(PhaseMigrate), Boot: s.bootID})
		if err := m.Mark(marks); err != nil {
			return err
		}
	}
	if err := m.Reached(ctx, string(PhaseMigrate)); err != nil {
		s.log.Warn("trial", "reason", err)
	}
	_, err = s.runHooks(ctx, op, o, false)
	return err
}

// unproved gives the trial up, or leaves it open if it is ctx that ended.
func (s *Server) unproved(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		s.trial.move(TrialWaiting, "", TrialRunning)
		return ctx.Err()
	}
	if late := (lateError{}); errors.As(err, &late) {
		s.late(err.Error())
	} else {
		s.giveUp(err.Error())
	}
	return s.trial.why()
}

// why is the error of a trial that failed.
func (t *trial) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == TrialFailed {
		return errors.New(t.reason)
	}
	return nil
}
