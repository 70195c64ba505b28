package node

import (
	"context"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/upgrade/report"
)

// Check is one thing that must hold before a trial is confirmed.
type Check struct {
	Name     string
	Deadline time.Duration // to answer; 0: as long as the trial has
	Run      func(ctx context.Context) error
	Own      bool // it is Pawl's own, and says nothing of the system's work
}

// lateError is of a check that had said nothing when its time was over. That is no "no": it ends this boot of a trial,
// and not the tries that are left.
type lateError struct{ error }

func (e lateError) Unwrap() error { return e.error }

// run returns when the check has answered, with its error, or its deadline has come, whatever the check does: one that
// ignores its context is left behind.
func (c Check) run(ctx context.Context) error {
	begun := time.Now()
	if c.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Deadline)
		defer cancel()
	}
	answer := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				answer <- fmt.Errorf("it panicked: %v", r)
			}
		}()
		answer <- c.Run(ctx)
	}()
	var err error
	select {
	case err = <-answer:
	case <-ctx.Done():
		select {
		case err = <-answer: // it answered in the last moment
		default:
			err = fmt.Errorf("no answer after %s", time.Since(begun).Round(time.Millisecond))
		}
	}
	if err != nil && ctx.Err() != nil {
		return lateError{err}
	}
	return err
}

// own is the check that every trial begins with: the service can read its machine, and what runs is what the attempt on
// record wrote.
func (s *Server) own() Check {
	return Check{Name: "pawl", Own: true, Deadline: time.Minute, Run: func(ctx context.Context) error {
		st, err := s.status(ctx)
		for try := 1; err != nil && try < maxTries; try++ { // that it cannot be read in this moment is no "no"
			if err := pause(ctx); err != nil {
				return err
			}
			st, err = s.status(ctx)
		}
		if err != nil {
			return err
		}
		running := st.Running()
		switch a := st.Attempt; {
		case running.Content != report.Complete:
			return fmt.Errorf("slot %s, which runs, is %s: %s", running.Slot, running.Content, running.Problem)
		case a != nil && a.Open() && a.To == running.Slot && a.Image != running.Manifest.Image:
			return fmt.Errorf("slot %s holds %s, the attempt wrote %s", running.Slot, running.Manifest.Image, a.Image)
		}
		return nil
	}}
}

// status reads the machine afresh.
func (s *Server) status(context.Context) (st report.Status, err error) {
	err = s.with(true, func(m machine) error {
		if st, err = m.Status(); err != nil {
			return err
		}
		if text := s.mirrorWarning(m); text != "" {
			st.Warnings = append(st.Warnings, text)
		}
		return nil
	})
	return st, err
}
