package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// operation is an attempt on its way: what is tried, and how. A rollback and a staged upgrade that is applied need no
// more, since their target is complete.
type operation struct {
	m *Machine // nil before an install has made it
	Options
	plan     Plan
	state    attempt.State // that the attempt is recorded in: Prepared or Staged
	files    []bootloader.File
	images   []bootloader.Image
	manifest bootloader.Manifest
	kept     int    // bytes of firmware variables that the rehearsal wrote
	foreseen string // why what is forced will not start; "" where that is not foreseen
}

// filling is an operation whose target gets the files of an image. A rehearsal gives it others of their size.
type filling struct {
	operation
	img   *image.Image
	takes takes // what a slot takes of the image, for this machine's loader
}

// writing is a filling with the image's own files, while they are fetched, written and read back.
type writing struct {
	filling
	log      *slog.Logger
	vars     efivar.Store // of the machine that is to boot it; nil where that is not known
	source   *source
	reuse    map[string]Reuse // by the name of the asset
	delta    *image.Delta     // what the active slot has of the rest
	whole    progress.Pace    // of the download
	fetching int              // the layer that ofLayer speaks of
	ofLayer  progress.Pace
	beside   map[string]*readBack // of the files that are read back while they are written, by name
	written  []string             // images that were written
	begun    map[string]bool      // files that were written, whole or in part, by name
}

// Apply writes img into the target and arms it: Prepare, then Arm. The next boot is the trial.
func (m *Machine) Apply(ctx context.Context, img *image.Image, o Options) (attempt.Attempt, error) {
	if a, err := m.Prepare(ctx, img, o); err != nil {
		return a, err
	}
	return m.Arm(ctx, o)
}

// Prepare does everything of an upgrade that can fail, while the machine still serves, and disturbs nothing: wherever
// power fails, the next boot is that of the default. The target is the slot that is neither active nor default; what it
// held is gone from "clear" on, but for files that the image has too. Those are left, those of the active slot are
// copied, and a download that was cut off is taken up: each as far as its bytes match the digests in the image's
// manifest, and all of it is read back like the rest.
func (m *Machine) Prepare(ctx context.Context, img *image.Image, o Options) (attempt.Attempt, error) {
	return m.prepareAs(ctx, img, o, attempt.Prepared)
}

func (m *Machine) prepareAs(
	ctx context.Context, img *image.Image, o Options, state attempt.State,
) (attempt.Attempt, error) {
	op, err := m.upgrade(ctx, img, o, state)
	if err != nil {
		return attempt.Attempt{}, fmt.Errorf("upgrade to %s: %w", img.Reference, err)
	}
	op.look(ctx)
	op.source = open(ctx, op)
	defer func() { op.source.stop() }() // clear may have replaced it
	defer op.stopReading()
	if err := m.walk(ctx, op.steps(), o.Progress); err != nil {
		return attempt.Attempt{}, fmt.Errorf("upgrade to %s: %w", img.Reference, err)
	}
	a, err := m.attempt()
	if err != nil {
		return attempt.Attempt{}, fmt.Errorf("upgrade to %s: %w", img.Reference, err)
	}
	return *a, nil
}

// steps are those of Prepare. If power fails in
//
//	disarm    default: an earlier arming is there or gone, and its slot is still whole
//	clear     default: the loader forgets the target; then its manifest is gone, and its other files are there or not
//	write     default: no table, directory or block that the default needs is written; a file of the target may be there
//	          in full size and in part: without a manifest nothing refers to it, and the next run compares its bytes
//	verify    default: nothing is written
//	complete  default: the loader does not know of the target
//	prepare   default: the loader's entry never wins by itself; META's attempt ends as abandoned
func (op *writing) steps() []step {
	return []step{
		{progress.StepFind, op.find},
		{progress.StepDisarm, op.disarm},
		{progress.StepClear, op.clear},
		{progress.StepWrite, op.write},
		{progress.StepVerify, op.verify},
		{progress.StepComplete, op.complete},
		{progress.StepPrepare, op.prepare},
	}
}

// find waits for the first file that a slot needs, so that an image without any changes nothing, and looks at its
// beginning.
func (op *writing) find(ctx context.Context) error {
	var a image.Asset
	if !op.nothingToFetch() {
		var err error
		if a, err = op.source.first(); err != nil {
			return err
		}
		if _, isImage := format.ImageName(a.Name); !isImage {
			if err := op.fits(a.Size); err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
		}
	}
	if err := op.foresee(ctx, a); err != nil {
		return err
	}
	for _, i := range op.images { // one that is in use is refused while the target still holds what it held
		if _, err := op.m.halves.device(i.Name, op.plan.To); err != nil {
			return fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	return op.probe()
}

// probe asks the firmware, before anything is changed, whether it would keep what the rehearsal wrote to its variables.
func (op *operation) probe() error {
	if names, err := op.m.Vars.List(); op.kept == 0 || err == nil &&
		len(names) == 0 { // without any, whatever needs one was refused
		return nil
	}
	if err := efivar.Probe(op.m.Vars, op.kept); err != nil {
		return fmt.Errorf("%w: %w (delete boot entries that nothing needs, then restart once)",
			bootloader.ErrNoVariables, err)
	}
	return nil
}

// prepare rehearses the rest with the files as they are now, and goes on if all of it holds.
func (op *writing) prepare(ctx context.Context) error {
	if err := op.rehearse(ctx, loaderAhead); err != nil {
		return err
	}
	return op.enter()
}

// enter tells the loader of the target, then META of the attempt.
func (op *operation) enter() error {
	if err := op.m.Loader.Prepare(op.plan.To, op.manifest, op.tries()); err != nil {
		return err
	}
	var marks []attempt.Mark
	if old, err := op.m.attempt(); err == nil && old != nil {
		marks = old.Marks // what could not be undone yet
	}
	now := op.m.now().UTC().Truncate(time.Second)
	return op.m.record(&attempt.Attempt{
		ID: newID(), Kind: op.plan.Kind, State: op.state, Stage: op.state == attempt.Staged, Tries: op.Tries,
		Way: cmp.Or(op.Way, op.m.Way), Mode: op.Mode, Forced: op.Force, Foreseen: op.foreseen,
		From: op.plan.From, To: op.plan.To,
		Old:     op.plan.Old,
		Version: op.plan.Version, Image: op.plan.Image, Reference: op.plan.Reference, Preserve: op.Preserve,
		Marks: marks, Boots: attempt.Boots{Prepared: op.m.BootID}, Begun: now,
	}, nil)
}
