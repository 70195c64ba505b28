package upgrade

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// arm does what commits, and returns the loader's state behind it.
func (r *rehearsal) arm(ctx context.Context, s *stage) (bootloader.State, error) {
	if r.op.state == attempt.Staged && r.ahead != armAhead && !r.unsure {
		_, b, err := s.started(ctx, r.op.plan.From, false, r.op.m.Version)
		if err != nil {
			return bootloader.State{}, err
		}
		if !b.Staged {
			return bootloader.State{}, fmt.Errorf("the next boot does not find what is staged: %w", ErrRehearsal)
		}
	}
	sys, err := s.open(r.op.m.Version)
	if err != nil {
		return bootloader.State{}, err
	}
	a, err := sys.attempt()
	if err == nil {
		err = sys.arm(a, r.options())
	}
	if err != nil {
		return bootloader.State{}, err
	}
	return sys.Loader.State()
}

// idle: the default boots, again and again.
func (r *rehearsal) idle(s *stage) error {
	if r.ahead == armAhead {
		return nil // the next boot is this one
	}
	return s.boots(r.op.plan.From, false, 2)
}

// confirmed: the trial boots, confirms itself, and is the default from then on.
func (r *rehearsal) confirmed(ctx context.Context, s *stage) error {
	to := r.op.plan.To
	sys, b, err := s.started(ctx, to, true, s.target.Version)
	if err != nil {
		return err
	}
	armed := s.vars.Clone()
	if !b.Trial || b.Attempt == nil {
		return fmt.Errorf("the new version does not find that it is on trial: %w", ErrRehearsal)
	}
	if _, err := sys.Confirm(unrehearsed.Context(ctx), Options{}); err != nil { // what boots then is looked at here
		return err
	}
	r.op.kept += armed.Grown(s.vars)
	if _, _, err := s.started(ctx, to, false, s.target.Version); err != nil {
		return err
	}
	return s.boots(to, false, 1)
}

// diesSilently: as many boots as the loader counts by itself, then the old version.
func (r *rehearsal) diesSilently(ctx context.Context, s *stage) error {
	tries := 1
	if r.counts {
		tries = r.op.tries()
	}
	if err := s.boots(r.op.plan.To, true, tries); err != nil {
		return err
	}
	return r.back(ctx, s)
}

// dies: as many boots as were asked for, then the old version.
func (r *rehearsal) dies(ctx context.Context, s *stage) error {
	for range r.op.tries() {
		if _, _, err := s.started(ctx, r.op.plan.To, true, s.target.Version); err != nil {
			return err
		}
	}
	return r.back(ctx, s)
}

// doesNotLoad: the same power cycle ends in the old version.
func (r *rehearsal) doesNotLoad(_ context.Context, s *stage) error {
	sys, err := s.open(r.op.m.Version)
	if err != nil {
		return err
	}
	for _, f := range s.target.Files {
		if f.Name != bootloader.UKIFile && f.Name != bootloader.KernelFile {
			continue
		}
		if err := sys.Boot.WriteFile(r.op.plan.To.File(f.Name), []byte("does not load")); err != nil {
			return err
		}
	}
	s.good = ""
	return s.boots(r.op.plan.From, false, 2)
}

// takenBack: the old version boots, as if nothing had been.
func (r *rehearsal) takenBack(ctx context.Context, s *stage) error {
	sys, err := s.open(r.op.m.Version)
	if err != nil {
		return err
	}
	if _, err := sys.Rollback(ctx, Options{}); err != nil {
		return err
	}
	return s.boots(r.op.plan.From, false, 2)
}

// back: the old version boots, knows that the trial fell back, and goes on to boot.
func (r *rehearsal) back(ctx context.Context, s *stage) error {
	_, b, err := s.started(ctx, r.op.plan.From, false, r.op.m.Version)
	if err != nil {
		return err
	}
	if !b.Ended {
		return fmt.Errorf("the old version does not find that the trial is over: %w", ErrRehearsal)
	}
	return s.boots(r.op.plan.From, false, 1)
}
