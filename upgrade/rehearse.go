package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// errUnrehearsed is returned where there is nothing to play on.
var errUnrehearsed = errors.New("not rehearsed")

// ahead says how much of an operation is yet to come.
type ahead int

const (
	allAhead    ahead = iota // the target's files too: others of their size stand in for them
	loaderAhead              // the loader learns of a target that is complete
	armAhead                 // a staged upgrade is armed
)

// rehearsal is the rest of an operation, played on copies of the disk and of the variables.
type rehearsal struct {
	op     *operation
	fills  *filling // with which the target is filled first; nil where it is complete
	ahead  ahead
	counts bool // the loader counts the tries by itself
	unsure bool // the model does not know what boots
}

// rehearse plays what is to come of op, each way it may go, and returns an error for what would not hold. It writes
// nothing and reads no payload. What cannot be played is a warning in the plan.
func (op *operation) rehearse(ctx context.Context, what ahead) error {
	return (&rehearsal{op: op, ahead: what}).hold(ctx)
}

// rehearseAll is rehearse from before the target is filled.
func (op *filling) rehearseAll(ctx context.Context) error {
	return (&rehearsal{op: &op.operation, fills: op, ahead: allAhead}).hold(ctx)
}

func (r *rehearsal) hold(ctx context.Context) error {
	err := r.played(ctx)
	if errors.Is(err, errUnrehearsed) || errors.Is(err, predict.ErrNotModelled) {
		r.op.plan.Warnings = append(r.op.plan.Warnings, "this upgrade cannot be rehearsed: "+err.Error())
		return nil
	}
	return err
}

// played is hold without that exception.
func (r *rehearsal) played(ctx context.Context) error {
	if unrehearsed.Is(ctx) {
		return nil
	}
	if err := r.play(ctx); err != nil {
		return fmt.Errorf("rehearse on a copy of this disk: %w", err)
	}
	return nil
}

// rehearseNext rehearses an upgrade to an image as large as what runs.
func (m *Machine) rehearseNext(ctx context.Context) error {
	st, err := m.ready()
	if err != nil {
		return err
	}
	from, err := m.active(st)
	if err != nil {
		return err
	}
	img := &image.Image{Digest: "sha256:" + strings.Repeat("0", 64)}
	for _, f := range from.Manifest.Files {
		if !isOwn(f.Name) {
			img.Assets = append(img.Assets, image.Asset{Name: assetOf(f.Name), Size: f.Size})
		}
	}
	for _, i := range from.Manifest.Images {
		img.Assets = append(img.Assets, image.Asset{Name: format.Images + i.Name, Size: i.Size, SHA256: i.SHA256,
			Verity: i.Verity})
	}
	op := &filling{img: img, takes: takesFor(m.backend, img), operation: operation{m: m, plan: Plan{
		Kind: attempt.Upgrade, From: st.Active, To: st.Active.Other(), Old: from.Version(), Image: img.Digest,
	}}}
	if err := op.placeImages(m.halves); err != nil {
		return err
	}
	return (&rehearsal{op: &op.operation, fills: op, ahead: allAhead}).played(ctx)
}

// play goes through the scenes: one from the prepared state, the others from the armed one. Where nothing would start
// before anything is done, only the way forward is held to the table: it makes nothing worse. Where the model does not
// know what boots, what is written before the next boot is played all the same.
func (r *rehearsal) play(ctx context.Context) error {
	s, err := r.op.m.stage(r.op.manifest)
	if err != nil {
		return err
	}
	defer func() {
		for _, text := range *s.unsure {
			r.op.plan.Warnings = append(r.op.plan.Warnings, "its signature is taken to be good: "+text)
		}
	}()
	before := s.vars.Clone()
	lost, unknown := s.clone().stuck()
	if r.unsure = errors.Is(unknown, predict.ErrNotModelled); unknown != nil && !r.unsure {
		return unknown
	}
	if err := r.prepare(ctx, s); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if !lost && !r.unsure {
		if err := r.idle(s.clone()); err != nil {
			return fmt.Errorf("when nothing is armed: %w", err)
		}
	}
	st, err := r.arm(ctx, s)
	if err != nil {
		return fmt.Errorf("arm: %w", err)
	}
	if r.unsure {
		return unknown
	}
	if r.op.Force && r.ahead == loaderAhead {
		r.op.foreseen = s.clone().refusal(r.op.plan.To)
	}
	r.counts, r.op.kept = !st.Again, before.Grown(s.vars)
	for _, scene := range []struct {
		name string
		do   func(context.Context, *stage) error
	}{
		{"the trial is confirmed", r.confirmed},
		{"the trial dies before it says that it started", r.diesSilently},
		{"the trial dies after it said that it started", r.dies},
		{"the new version does not load", r.doesNotLoad},
		{"it is taken back", r.takenBack},
	} {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := scene.do(ctx, s.clone()); err != nil {
			return fmt.Errorf("when %s: %w", scene.name, err)
		}
		if lost {
			r.op.plan.Warnings = append(r.op.plan.Warnings,
				"as it is, nothing starts in the next boot, so a trial that fails has nothing to come back to")
			break
		}
	}
	return nil
}

// prepare brings the copy to where it is armed next.
func (r *rehearsal) prepare(ctx context.Context, s *stage) error {
	if r.ahead == armAhead {
		return nil
	}
	sys, err := s.open(r.op.m.Version)
	if err != nil {
		return err
	}
	op := &filling{operation: operation{
		m: sys, Options: r.options(), plan: r.op.plan, state: cmp.Or(r.op.state, attempt.Prepared),
		files: r.op.files, manifest: r.op.manifest,
	}}
	if r.fills != nil {
		op.img, op.takes, op.images = r.fills.img, r.fills.takes, r.fills.images
	}
	if err := sys.tryBy(op.Way); err != nil {
		return err
	}
	if err := op.disarm(ctx); err != nil {
		return err
	}
	if r.ahead == allAhead {
		if err := op.standIn(ctx); err != nil {
			return err
		}
	}
	if r.ahead == allAhead || op.Force { // what is forced need not load
		s.good = strings.ToLower(op.plan.To.Dir()) + "/"
	}
	s.target = op.manifest
	return op.enter()
}

// options are those of the operation, with nobody to tell, and with nothing to wipe.
func (r *rehearsal) options() Options {
	o := r.op.Options
	o.Progress, o.Kexec, o.Preserve = nil, false, true
	return o
}

// standIn clears the target and gives it files as large as those of the image, whose content does not matter.
func (op *filling) standIn(ctx context.Context) error {
	if err := op.m.clear(op.plan.To); err != nil {
		return err
	}
	for name, size := range op.sizes() {
		f := bootloader.File{Name: name, Size: size, SHA256: strings.Repeat("0", 64)}
		path := op.plan.To.File(name)
		var err error
		if name == bootloader.CmdlineFile {
			text := "panic=1 " + strings.Repeat("a", int(size))
			err = op.m.Boot.WriteFile(path, []byte(text[:max(size-1, 0)]+"\n"))
		} else {
			err = op.m.Boot.Allocate(path, size)
		}
		if errors.Is(err, bootfs.ErrFull) {
			err = fmt.Errorf("%w: %w", err, ErrDoesNotFit)
		}
		if err != nil {
			return err
		}
		op.files = append(op.files, f)
	}
	op.plan.Version = cmp.Or(op.plan.Version, op.plan.Image)
	return op.complete(ctx)
}

// sizes are the files that the target will have, and how large they are as far as the image says.
func (op *filling) sizes() map[string]int64 {
	sizes := map[string]int64{}
	for _, a := range op.img.Assets {
		if name := op.takes[a.Name]; name != "" {
			sizes[name] = a.Size
		}
	}
	for _, name := range op.takes {
		needed := name == bootloader.UKIFile || !op.takes.either() && (name == bootloader.KernelFile ||
			name == bootloader.InitrdFile)
		if op.img.Assets == nil && needed {
			sizes[name] = 4096
		}
	}
	return sizes
}
