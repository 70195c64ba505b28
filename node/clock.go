package node

import (
	"context"
	"fmt"
	"time"
)

// StartClock starts the watchdog and the clock of a trial, once, before it is known whether this boot is one. Start
// does it; who serves before Start, or does anything else that may hang, calls it first.
func (s *Server) StartClock() {
	t := &s.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		return
	}
	t.deadline = time.Now().Add(s.config.TrialDeadline)
	s.guard.on(guardTry, t.deadline.Add(recordTime))
	t.timer = time.AfterFunc(s.config.TrialDeadline, s.timeUp)
}

// timeUp ends a trial that was not confirmed in time.
func (s *Server) timeUp() {
	t := &s.trial
	if t.unknown() {
		if err := s.askAgain(); err != nil {
			s.log.Error("whether this boot is a trial is not known, so it goes on", "reason", err)
			s.guard.on(guardDisarm, time.Time{})
			return
		}
	}
	t.mu.Lock()
	reason := fmt.Sprintf("not confirmed within %s", s.config.TrialDeadline)
	switch {
	case t.state == TrialRunning && t.check != "":
		reason += fmt.Sprintf(": check %q has not answered", t.check)
	case t.state == TrialWaiting:
		reason += ": the system did not come up so far that its checks began"
	}
	t.mu.Unlock()
	s.late(reason)
}

// askAgain finds out whether this boot is a trial, when Start could not.
func (s *Server) askAgain() error {
	ctx, cancel := context.WithTimeout(s.ctx, recordTime)
	defer cancel()
	return Check{Run: func(context.Context) error {
		return s.with(true, func(m machine) error {
			st, err := m.Status()
			trial := st.Loader.Trial() && st.Unordered == ""
			if err == nil && s.trial.isKnown(trial) && !trial {
				s.guard.on(guardDisarm, time.Time{})
			}
			return err
		})
	}}.run(ctx)
}
