package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pawl-os/pawl/internal/nearest"
	"github.com/pawl-os/pawl/partition"
)

// ErrConfig is returned for a configuration that cannot work on this machine. Do: mend what it names. A trial has been
// given up.
var ErrConfig = errors.New("the node's configuration is wrong")

// judge refuses checks and hooks that could not be run.
func judge(checks []Check, hooks []Hook) error {
	for _, c := range checks {
		if c.Name == "" || c.Run == nil || c.Deadline < 0 {
			return fmt.Errorf("check %q: a check needs a name, something to run, and no negative deadline", c.Name)
		}
	}
	for _, h := range hooks {
		if h.Name == "" || h.Run == nil || h.Deadline < 0 || !slices.Contains(hookPhases, h.Phase) {
			return fmt.Errorf("hook %q: a hook needs a name, something to run, no negative deadline, and one of the "+
				"phases %v", h.Name, hookPhases)
		}
	}
	return nil
}

// configure is what of a configuration can be judged only on the machine. Start calls it with the clock of a trial
// running.
func (s *Server) configure(ctx context.Context) error {
	if s.config.Load != nil {
		checks, hooks, err := s.config.Load(ctx)
		if err == nil {
			err = judge(checks, hooks)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		s.config.Checks, s.config.Hooks = append(checks, s.config.Checks...), append(hooks, s.config.Hooks...)
	}
	return s.checkUnmount()
}

// checkUnmount sees that there is one partition of each label in Config.Unmount. It is asked at the start, and again
// before a node is disturbed for nothing.
func (s *Server) checkUnmount() error {
	if len(s.config.Unmount) == 0 {
		return nil
	}
	labels, err := s.labels()
	if err != nil {
		return fmt.Errorf("see which partitions there are: %w", err)
	}
	for _, label := range s.config.Unmount {
		n := 0
		for _, l := range labels {
			if l == label {
				n++
			}
		}
		switch {
		case n == 0:
			return fmt.Errorf("%w: unmount: %s has no partition %q%s; it has %q", ErrConfig, s.config.Disk, label,
				nearest.Hint(label, labels), labels)
		case n > 1:
			return fmt.Errorf("%w: unmount: %s has %d partitions %q (rename all but one)", ErrConfig, s.config.Disk, n,
				label)
		}
	}
	return nil
}

func (s *Server) diskLabels() (labels []string, err error) {
	d, err := partition.Open(s.config.Disk, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	layout, err := partition.Read(d)
	for _, p := range layout.Partitions {
		labels = append(labels, p.Label)
	}
	return labels, err
}

// GiveUp ends the trial that this boot may be, for a program that cannot go on: the reason is recorded, and the machine
// restarts into the version that worked, as when a check fails. It reports whether that was so; elsewhere nothing
// happens. It may be called without Start, by a program that is configured so that it cannot start.
func (s *Server) GiveUp(reason string) bool {
	s.StartClock()
	if s.trial.unknown() {
		if err := s.askAgain(); err != nil {
			s.log.Error("whether this boot is a trial is not known", "reason", err)
			s.trial.stop()
			s.guard.on(guardDisarm, time.Time{})
			return false
		}
	}
	if !s.trial.open() {
		return false
	}
	if op, running := s.queue.latest(); !running || op.name != string(stepReboot) { // else it is about to restart
		s.giveUp(reason)
	}
	return true
}

// EndTrial ends the trial that this boot may be, for a program that cannot even make a Server of its configuration: of
// that, only Disk, Machine, Reboot and Log are used.
func EndTrial(c Config, why error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Disk == "" {
		return // somebody looks how the program is called
	}
	s, err := New(Config{Disk: c.Disk, Machine: c.Machine, Reboot: c.Reboot, Log: c.Log})
	if err != nil {
		c.Log.Error("the trial, if this is one, is not given up", "reason", err)
		return
	}
	s.GiveUp("the node service cannot work as it is configured: " + why.Error())
	if err := s.Close(); err != nil {
		c.Log.Error("close", "reason", err)
	}
}
