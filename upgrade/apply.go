package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
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
//	prepare   default: the loader's entry never wins by itself; META's attempt is told of as abandoned
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

// disarm takes back whatever is armed, and closes the attempt that armed it.
func (op *operation) disarm(context.Context) error {
	if err := op.m.forgetTry(); err != nil {
		return err
	}
	if err := op.m.Loader.Disarm(); err != nil {
		return err
	}
	old, err := op.m.attempt()
	if err != nil || old == nil || !old.Open() {
		return err
	}
	return op.m.end(old, attempt.Abandoned, "replaced by another attempt before it was booted")
}

// clear makes the target unbootable, then incomplete, then empty but for what is used again.
func (op *writing) clear(ctx context.Context) error {
	op.m.rememberLoader(op.plan.To)
	if !op.leaves() {
		return op.m.clear(op.plan.To)
	}
	return op.clearAround(ctx)
}

func (m *Machine) clear(s bootloader.Slot) error {
	if err := m.Loader.Withdraw(s); err != nil {
		return fmt.Errorf("withdraw slot %s: %w", s, err)
	}
	if err := m.Boot.Clear(s.Dir()); err != nil {
		return fmt.Errorf("clear slot %s: %w", s, err)
	}
	return nil
}

// write streams the image's files into the target, and returns only after every byte of the image's layers was hashed.
func (op *writing) write(ctx context.Context) error {
	if err := op.take(ctx); err != nil {
		return err
	}
	err := op.source.each(func(a image.Asset, r io.Reader) error {
		return op.file(ctx, a, r)
	})
	if err != nil {
		return err
	}
	if err := errors.Join(op.lacks(), op.lacksImage()); err != nil {
		return err
	}
	return op.prefer()
}

// prefer leaves the UKI alone in the target, where an image that did not say so beforehand has a kernel too.
func (op *filling) prefer() error {
	isUKI := func(f bootloader.File) bool { return f.Name == bootloader.UKIFile }
	if !slices.ContainsFunc(op.files, isUKI) {
		return nil
	}
	var kept []bootloader.File
	for _, f := range op.files {
		if isUKI(f) || isOwn(f.Name) {
			kept = append(kept, f)
			continue
		}
		if err := op.m.Boot.Remove(op.plan.To.File(f.Name)); err != nil {
			return fmt.Errorf("remove what the UKI makes needless: %w", err)
		}
	}
	op.files = kept
	return nil
}

// lacks is the error of an image that was written and lacks a file.
func (op *filling) lacks() error {
	return op.takes.lacks(op.img.Reference, func(asset string) bool {
		return slices.ContainsFunc(op.files, func(f bootloader.File) bool { return f.Name == op.takes[asset] })
	})
}

func (op *operation) tell(e progress.Event) {
	if op.Progress != nil {
		op.Progress(e)
	}
}

// tellWrite tells how far a file has come, and with it the download.
func (op *writing) tellWrite(file string, n, total int64) {
	if op.Progress == nil {
		return
	}
	e := progress.Event{Step: progress.StepWrite, File: file, Bytes: n, Total: total}
	if p := op.source.came.Load(); p != nil {
		if p.Layer != op.fetching {
			op.fetching, op.ofLayer = p.Layer, progress.Pace{}
		}
		now := op.m.now()
		e.Whole = op.whole.Amount(now, p.Fetched, p.Total)
		e.Layer = progress.Layer{Number: p.Layer, Count: p.Layers,
			Amount: op.ofLayer.Amount(now, p.OfLayer, p.LayerTotal)}
	}
	op.Progress(e)
}

// verify waits until the target has been read back, and looks at what is to be booted.
func (op *writing) verify(ctx context.Context) error {
	if err := op.readBack(ctx); err != nil {
		return err
	}
	if err := op.m.readImages(ctx, op.plan.To, op.images, op.Progress); err != nil {
		return err
	}
	version, err := op.m.fit(op.plan.To, op.img.Arch)
	if err != nil && (!op.Force || errors.Is(err, errReserved)) {
		return err
	}
	if err := op.m.fitLoader(op.plan.To, op.img.Arch); err != nil &&
		(!op.Force || errors.Is(err, bootloader.ErrMachine)) {
		return err
	}
	if err := op.takeVersion(version); err != nil {
		return err
	}
	return op.m.fitEntry(op.plan.To, op.plan.Version)
}

// complete writes the target's manifest. With it on the device the slot is complete, and still nothing refers to it.
func (op *filling) complete(context.Context) error {
	// What boots comes first, whatever order it came in.
	slices.SortStableFunc(op.files, func(a, b bootloader.File) int {
		switch {
		case isOwn(a.Name) == isOwn(b.Name):
			return 0
		case isOwn(a.Name):
			return 1
		}
		return -1
	})
	op.manifest = bootloader.Manifest{
		Version: op.plan.Version, Image: op.plan.Image, Reference: op.plan.Reference, Arch: op.img.Arch,
		Files: op.files, Images: op.images,
	}
	return op.m.complete(op.plan.To, op.manifest)
}

func (m *Machine) complete(s bootloader.Slot, man bootloader.Manifest) error {
	data, err := bootloader.EncodeManifest(man)
	if err != nil {
		return err
	}
	w, err := m.Boot.Create(s.File(bootloader.ManifestFile), int64(len(data)))
	if err != nil {
		return fmt.Errorf("create %s: %w", s.File(bootloader.ManifestFile), err)
	}
	if _, err := w.Write(data); err != nil {
		w.Abort()
		return fmt.Errorf("write %s: %w", s.File(bootloader.ManifestFile), err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", s.File(bootloader.ManifestFile), err)
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

// Arm is the commit point of a prepared attempt: one write, after which the next boot is the trial. An error leaves
// nothing armed, as far as the loader can be written at all.
//
// With Kexec the loader is left disarmed: the caller starts the target itself, and whatever happens to it, the firmware
// comes back to the default. If power fails before, the attempt is told of as fallen back. Arm without Kexec may
// follow, when the target could not be started. Confirm then asks whether the firmware would start it too: see ErrCold.
func (m *Machine) Arm(ctx context.Context, o Options) (attempt.Attempt, error) {
	a, err := m.attempt()
	switch {
	case err != nil:
		return attempt.Attempt{}, fmt.Errorf("arm: %w", err)
	case a == nil || a.State != attempt.Prepared && a.State != attempt.Armed:
		return attempt.Attempt{}, fmt.Errorf("arm: no attempt is prepared (begin with an upgrade or a rollback)")
	}
	err = m.walk(ctx, []step{{progress.StepArm, func(context.Context) error { return m.arm(a, o) }}}, o.Progress)
	if err != nil {
		return *a, fmt.Errorf("%s to %s: %w", a.Kind, a.Version, err)
	}
	return *a, nil
}

// arm is Arm's one step. If power fails
//
//	before META says armed      default; the attempt is told of as abandoned
//	before the loader is armed  default; the attempt is told of as fallen back, not known to have started
//	after it                    the trial, as often as it is counted, then the default
func (m *Machine) arm(a *attempt.Attempt, o Options) error {
	to := m.slot(a.To)
	if to.Content != report.Complete || to.Manifest.Image != a.Image {
		return fmt.Errorf("%s, not version %s (begin again with an upgrade): %w", to, a.Version, ErrNotComplete)
	}
	way := cmp.Or(o.Way, a.Way, m.Way)
	if err := m.tryBy(way); err != nil {
		return err
	}
	if err := m.forgetTry(); err != nil {
		return err
	}
	a.State, a.Tries, a.Way, a.Trials, a.Kexec = attempt.Armed, o.Tries, way, 0, o.Kexec
	if a.Stage {
		a.Boots.Prepared = m.BootID // or Started would take this boot for one that came back from the trial
	}
	m.see(a)
	err := m.record(a, nil)
	if err != nil {
		return err
	}
	m.at(string(a.Kind), "arm the loader")
	if o.Kexec {
		err = m.Loader.Disarm()
	} else {
		err = m.Loader.Arm(a.To, o.tries())
	}
	if err == nil {
		return nil
	}
	if undo := m.Loader.Disarm(); undo != nil {
		return fmt.Errorf("%w (and disarm: %v)", err, undo)
	}
	if note := m.end(a, attempt.Abandoned, "it could not be armed: "+err.Error()); note != nil {
		m.log.Warn("the end of the attempt is not recorded", "reason", note)
	}
	return err
}

// end records how an attempt ended.
func (m *Machine) end(a *attempt.Attempt, r attempt.Result, reason string) error {
	a.State, a.Result, a.Reason, a.Boots.Ended, a.Seen = attempt.Ended, r, reason, m.BootID, nil
	return m.record(a, nil)
}
