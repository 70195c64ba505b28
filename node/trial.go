package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// recordTime bounds how long the reason of a failed trial may take to reach META. The restart does not wait longer.
const recordTime = 10 * time.Second

// maxTries is how often the start is recorded and the confirmation tried, a second apart: another program may hold the
// disk for a moment, or all file descriptors.
const maxTries = 3

// TrialState is how far the trial is that this boot may be.
type TrialState string

// The states.
const (
	TrialNone      TrialState = ""          // this boot is no trial, or Start has not been called
	TrialWaiting   TrialState = "waiting"   // for Prove
	TrialRunning   TrialState = "running"   // the checks
	TrialConfirmed TrialState = "confirmed" // for good
	TrialFailed    TrialState = "failed"    // the machine restarts, or was asked to
)

// trial is the trial that this boot may be.
type trial struct {
	mu       sync.Mutex
	state    TrialState
	check    string // that runs
	reason   string // once failed
	gone     bool   // giveUp has begun
	known    bool   // whether this boot is a trial
	deadline time.Time
	timer    *time.Timer
}

// move changes the state if it is one of from, and reports whether it was.
func (t *trial) move(to TrialState, reason string, from ...TrialState) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range from {
		if t.state == f {
			t.state, t.reason = to, reason
			return true
		}
	}
	return false
}

// open reports whether this boot is a trial that has not been confirmed.
func (t *trial) open() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state != TrialNone && t.state != TrialConfirmed
}

func (t *trial) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
}

// Start is called once in every boot, early, before EPHEMERAL is mounted: it records the boot, and ends an attempt that
// fell back. On a trial it wipes EPHEMERAL unless that is preserved, and the trial's deadline begins. What goes wrong
// on a trial gives the trial up: the reason is recorded and the machine restarts. Elsewhere it is the error, and Status
// tells it too; the machine can go on.
//
// An upgrade that was staged before this boot is armed now, and the machine restarts into its trial: ErrRestarting. One
// that cannot be applied has failed for good; that is told like any other error.
//
// The rest of the configuration is judged here: Config.Load, and the labels in Config.Unmount. What is wrong is
// [ErrConfig].
//
// Config.Watchdog and the clock begin before anything else, with StartClock if that is called before, and go on on a
// trial. Where the machine cannot be read, so that this boot may be one, they go on too; when the time is over it is
// asked again.
func (s *Server) Start(ctx context.Context) (upgrade.Boot, error) {
	defer s.recorded()
	s.StartClock()
	boot, err := s.begin(ctx)
	if !s.trial.maybe() && !errors.Is(err, ErrRestarting) {
		s.guard.on(guardDisarm, time.Time{})
	}
	return boot, err
}

func (s *Server) begin(ctx context.Context) (upgrade.Boot, error) {
	op := s.newBrief("start")
	if err := s.queue.enterWhenFree(ctx, op); err != nil {
		return upgrade.Boot{}, err
	}
	boot, err := s.record(ctx)
	staged := err == nil && boot.Staged
	if staged {
		err = s.configure(ctx)
	}
	if staged && err == nil {
		next := s.newBrief("apply the staged upgrade")
		ctx, next.cancel = context.WithCancel(ctx)
		s.queue.replace(next) // whoever waits for the start comes after it
		op.end(nil)
		s.recorded()
		s.guard.on(guardStage, time.Time{}) // this is no trial, and reading back takes as long as it takes
		err = s.applyStaged(ctx, next)
	} else {
		s.queue.leave()
		op.end(err)
		if !staged { // the queue is free for who ends a trial on which this hangs
			err = errors.Join(err, s.configure(ctx))
		}
	}
	switch {
	case errors.Is(err, ErrRestarting):
	case err != nil && s.checks() != nil:
		err = fmt.Errorf("start of a trial: %w", err)
		s.giveUp(err.Error())
	case err != nil:
		s.setProblem(err)
	case boot.Unordered != "":
		s.journal.add(op.name, Notice(fmt.Sprintf("no attempt ordered this boot, so it is not confirmed by itself: "+
			"%s (a person confirms it, or goes back)", boot.Unordered)))
	case boot.Trial:
		s.log.Info("this boot is a trial", "deadline", s.config.TrialDeadline, "checks", len(s.config.Checks))
	case boot.Attempt != nil:
		s.log.Info("the latest attempt", "attempt", boot.Attempt.String())
	}
	return boot, err
}

// record has the machine write down that this version has started. What fails is tried again for a moment, since a
// trial is lost with it.
func (s *Server) record(ctx context.Context) (boot upgrade.Boot, err error) {
	for try := range maxTries {
		if try > 0 {
			s.log.Warn("start", "reason", err)
			if err := pause(ctx); err != nil {
				break
			}
		}
		err = s.with(false, func(m machine) error {
			st, version, err := m.Runs()
			if err != nil {
				return err
			}
			if s.trial.isKnown(st.Trial()) {
				if st.Trial() {
					s.at("trial", Phase(attempt.Started))
				}
				s.mark(attempt.BootMark(s.bootID, st.Active, version))
			}
			if boot, err = m.Started(ctx); boot.Unordered != "" {
				s.trial.isNone()
			}
			return err
		})
		if err == nil {
			break
		}
	}
	return boot, err
}

// pause is between two tries.
func pause(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isKnown says whether this boot is a trial; the clock of one that is none ends. It reports false when that was known
// before.
func (t *trial) isKnown(trial bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known {
		return false
	}
	t.known = true
	if trial {
		t.state = TrialWaiting
	} else if t.timer != nil {
		t.timer.Stop()
	}
	return true
}

// isNone ends the clock of a boot that no attempt ordered: whoever ordered it has to decide.
func (t *trial) isNone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == TrialWaiting && !t.gone {
		t.state = TrialNone
		t.timer.Stop()
	}
}

// unknown reports whether this boot may be a trial.
func (t *trial) unknown() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.known
}

// maybe reports whether this boot is or was a trial, or may be one.
func (t *trial) maybe() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state != TrialNone || !t.known
}

func (s *Server) setProblem(err error) {
	s.log.Error("problem", "reason", err)
	s.mu.Lock()
	s.problem = err.Error()
	s.mu.Unlock()
}
