package upgrade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// Rollback goes back by hand. What that takes depends on where the machine stands, and the attempt that it returns says
// which it was:
//
//	nothing armed, no trial  a new attempt to try the other slot, armed: reboot into it; its trial confirms itself
//	a trial runs             the attempt, abandoned: reboot, and the default boots
//	an attempt is armed      the attempt, abandoned and disarmed: nothing else to do
//	an upgrade is staged     the attempt, abandoned: nothing else to do
//
// A new attempt to try a version that failed its trial, or that never came through one, is ErrKnownBad or ErrUnproved
// unless forced. If power fails before the arming, or in either other case, the default boots.
func (m *Machine) Rollback(ctx context.Context, o Options) (attempt.Attempt, error) {
	a, err := m.PrepareRollback(ctx, o)
	if err != nil || !a.Open() {
		return a, err
	}
	if a, err = m.Arm(ctx, o); err != nil {
		return a, fmt.Errorf("rollback: %w", err)
	}
	return a, nil
}

// PrepareRollback is Rollback without the arming: an attempt that it returns open is prepared, for Arm.
func (m *Machine) PrepareRollback(ctx context.Context, o Options) (attempt.Attempt, error) {
	a, err := m.rollback(ctx, o)
	if err != nil {
		return a, fmt.Errorf("rollback: %w", err)
	}
	return a, nil
}

func (m *Machine) rollback(ctx context.Context, o Options) (attempt.Attempt, error) {
	st, err := m.Loader.State()
	if err != nil {
		return attempt.Attempt{}, fmt.Errorf("read the loader's state: %w", err)
	}
	open, err := m.attempt()
	waits := err == nil && open != nil && (open.State == attempt.Staged || open.State == attempt.Armed &&
		open.Kexec) // the loader knows of neither
	if st.Trial() || st.Armed != bootloader.None || waits {
		return m.abandon(ctx, st, o)
	}
	if err := m.tryBy(o.Way); err != nil {
		return attempt.Attempt{}, err
	}
	if st, err = m.ready(); err != nil {
		return attempt.Attempt{}, err
	}
	from, err := m.active(st)
	if err != nil {
		return attempt.Attempt{}, err
	}
	to := m.slot(st.Active.Other())
	if to.Content != report.Complete {
		return attempt.Attempt{}, fmt.Errorf("%s: %w", to, ErrNothingToRollBack)
	}
	if err := m.proved(to); err != nil {
		if !o.Force {
			return attempt.Attempt{}, fmt.Errorf("%w (upgrade to another version, or force)", err)
		}
		m.log.Warn("rollback, forced", "reason", err)
	}
	op := &operation{m: m, Options: o, state: attempt.Prepared, manifest: to.Manifest, files: to.Manifest.Files,
		images: to.Manifest.Images}
	op.plan = Plan{
		Kind: attempt.Rollback, From: from.Slot, To: to.Slot, Old: from.Version(), Version: to.Manifest.Version,
		Image: to.Manifest.Image, Reference: to.Manifest.Reference,
	}
	if err := op.rehearse(ctx, loaderAhead); err != nil {
		return attempt.Attempt{}, err
	}
	err = m.walk(ctx, []step{
		{progress.StepVerify, op.intact},
		{progress.StepDisarm, op.disarm},
		{progress.StepPrepare, func(context.Context) error { return op.enter() }},
	}, o.Progress)
	if err != nil {
		return attempt.Attempt{}, err
	}
	a, err := m.attempt()
	if err != nil {
		return attempt.Attempt{}, err
	}
	return *a, nil
}

// intact refuses, before the first write, a target that is not what its manifest says, or that variables have no room
// for.
func (op *operation) intact(ctx context.Context) error {
	err := op.m.readBack(ctx, op.plan.To, op.files, nil, op.Progress)
	if err == nil {
		err = op.m.readImages(ctx, op.plan.To, op.images, op.Progress)
	}
	if errors.Is(err, errDiffers) {
		return fmt.Errorf("slot %s is damaged (upgrade instead): %w: %w", op.plan.To, ErrNotComplete, err)
	}
	if err != nil {
		return err
	}
	return op.probe()
}

// proved refuses what a slot holds if META knows that it failed its trial, or that it was to have one and was never
// confirmed.
func (m *Machine) proved(s report.Slot) error {
	bad, err := m.knownBad()
	if err != nil {
		return fmt.Errorf("the list of known-bad images cannot be read: %w", err)
	}
	for _, b := range bad {
		if b.Image == s.Manifest.Image {
			return fmt.Errorf("%s, %s: %s: %w", s, b.When.Format("2006-01-02"), b.Reason, ErrKnownBad)
		}
	}
	a, err := m.attempt()
	switch {
	case err != nil:
		return err
	case a == nil || a.To != s.Slot || a.Image != s.Manifest.Image || a.Result == attempt.Confirmed:
		return nil
	case a.Kind == attempt.Rollback && !a.Forced && (a.Result != attempt.FellBack || a.Reason == attempt.NotKnown):
		// It had proved itself before that rollback. Where nothing of the trial is known, the power may have been cut
		// before it was armed.
		return nil
	}
	return fmt.Errorf("%s: %w: %s", s, ErrUnproved, a)
}

// abandon gives up the attempt that is armed or on trial. The default needs nothing: it boots by itself.
func (m *Machine) abandon(ctx context.Context, st bootloader.State, o Options) (attempt.Attempt, error) {
	from, to := m.slot(st.Default), m.slot(st.Default.Other())
	a := attempt.Attempt{
		Kind: attempt.Upgrade, State: attempt.Ended, Result: attempt.Abandoned, Reason: "rolled back by hand",
		From: from.Slot, To: to.Slot, Old: from.Version(), Version: to.Version(), Image: to.Manifest.Image,
		Begun: m.now().UTC().Truncate(time.Second),
	}
	err := m.walk(ctx, []step{{progress.StepDisarm, func(context.Context) error {
		if err := m.Loader.Disarm(); err != nil {
			return err
		}
		old, err := m.attempt()
		switch {
		case err == nil && old != nil && old.Open():
			a = *old
		case err == nil && old != nil:
			return nil // it tells more than that something was disarmed, or that a boot which nobody ordered is over
		}
		if err := m.end(&a, attempt.Abandoned, "rolled back by hand"); err != nil {
			m.log.Warn("the end of the attempt is not recorded", "reason", err)
		}
		return nil
	}}}, o.Progress)
	return a, err
}
