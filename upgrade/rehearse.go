package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/internal/foretell"
	"github.com/pawl-os/pawl/upgrade/report"
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
		m: sys, Options: r.options(), plan: r.op.plan, phase: cmp.Or(r.op.phase, attempt.Prepared),
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

// arm does what commits, and returns the loader's state behind it.
func (r *rehearsal) arm(ctx context.Context, s *stage) (bootloader.State, error) {
	if r.op.phase == attempt.Staged && r.ahead != armAhead && !r.unsure {
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

// outvoted refuses to confirm a slot where the other one would boot all the same, as the model says: something has come
// since it was armed that decides before the loader does. What the model does not know stops no confirm.
func (m *Machine) outvoted(running report.Slot) error {
	s, err := m.stage(running.Manifest)
	if err != nil {
		return nil
	}
	sys, err := s.open(m.Version)
	if err != nil {
		return nil
	}
	if err := sys.Loader.Confirm(running.Slot); err != nil {
		return nil // so does the real one, and says it
	}
	b, err := predict.Boot(s.disk, s.vars, s.fw)
	if err != nil || b.Stuck != "" || b.Slot != running.Slot.Other() {
		return nil
	}
	return fmt.Errorf("once slot %v is confirmed, the next boot would end in %s all the same (%s Mend that, and "+
		"confirm again): %w",
		running.Slot, ending(b), strings.Join(b.Why, " "), ErrRehearsal)
}

// stage is where a machine is played: copies that keep what is written in memory.
type stage struct {
	m       *Machine // the real one
	disk    *predict.Overlay
	vars    *efivar.Memory
	meta    *meta.Store // nil where META cannot be read
	cmdline string      // of the boot that it is in
	count   int         // boots that were played
	fw      predict.Options
	good    string              // directory of files that are taken to load, in lower case; "" for none
	target  bootloader.Manifest // what is tried
	unsure  *[]string           // what was taken to be signed
}

// stage returns a copy of the machine, in the boot that it is in.
func (m *Machine) stage(target bootloader.Manifest) (*stage, error) {
	if m.Disk == nil {
		return nil, fmt.Errorf("the disk as a whole is not known: %w", errUnrehearsed)
	}
	vars, err := predict.Variables(m.Vars)
	if err != nil {
		return nil, err
	}
	fw, err := foretell.Modelled(m.backend, m.Disk, vars)
	if err != nil {
		return nil, err
	}
	s := &stage{m: m, disk: predict.NewOverlay(m.Disk), vars: vars, cmdline: m.Cmdline, fw: fw, target: target,
		unsure: new([]string)}
	s.fw.Skim, s.fw.Explain, s.fw.Verdicts = true, true, new(predict.Verdicts)
	if v, err := meta.Read(m.Meta); err == nil { // else it is as damaged for what is played
		s.meta = meta.Memory(v)
	}
	return s, nil
}

func (s *stage) clone() *stage {
	c := *s
	c.disk, c.vars = s.disk.Clone(), s.vars.Clone()
	if s.meta != nil {
		c.meta = s.meta.Clone()
	}
	return &c
}

// open opens the machine as the system that runs there would. version is what that system says of itself.
func (s *stage) open(version string) (*Machine, error) {
	id := cmp.Or(s.m.BootID, "rehearsal")
	if s.count > 0 {
		id = fmt.Sprintf("%s+%d", id, s.count)
	}
	return OpenDevice(s.disk, OpenOptions{
		Loaders: []bootloader.Backend{s.m.backend}, Labels: s.m.Labels, Vars: s.vars, Gone: s.m.Gone,
		Cmdline: &s.cmdline, BootID: id, Version: version, Release: os.DevNull, Way: s.m.Way, Now: s.m.config.Now,
		memory: s.meta,
	})
}

// boots plays n boots, each of which has to start that slot, on trial or by itself.
func (s *stage) boots(want bootloader.Slot, trial bool, n int) error {
	for range n {
		s.fw.Good = nil
		if s.good != "" {
			s.fw.Good = func(path string) bool { return strings.HasPrefix(strings.ToLower(path), s.good) }
		}
		s.count++
		b, err := predict.Boot(s.disk, s.vars, s.fw)
		if err != nil {
			return err
		}
		for _, text := range b.Unsure {
			if !slices.Contains(*s.unsure, text) {
				*s.unsure = append(*s.unsure, text)
			}
		}
		if got, must := ending(b), ending(predict.Outcome{Slot: want, Trial: trial}); got != must {
			return fmt.Errorf("boot %d would end in %s, and has to end in %s (%s): %w", s.count, got, must,
				strings.Join(b.Why, " "), ErrRehearsal)
		}
		s.cmdline = b.Cmdline
	}
	return nil
}

// stuck reports whether the next boot starts nothing.
func (s *stage) stuck() (bool, error) {
	b, err := predict.Boot(s.disk, s.vars, s.fw)
	return b.Stuck != "", err
}

// refusal is why the next boot, with what is armed as it is, does not end in that slot; "" where it does, or where that
// is not known.
func (s *stage) refusal(to bootloader.Slot) string {
	s.fw.Good = nil
	b, err := predict.Boot(s.disk, s.vars, s.fw)
	if err != nil || b.Slot == to {
		return ""
	}
	why := strings.Join(b.Why, " ")
	return strings.ToValidUTF8(why[:min(len(why), mostForeseen)], "")
}

const mostForeseen = 400 // bytes, of META's room

// ending says where a boot ends.
func ending(b predict.Outcome) string {
	switch {
	case b.Stuck != "":
		return "nothing that runs: " + b.Stuck
	case b.Slot == bootloader.None:
		return b.Path
	case b.Trial:
		return fmt.Sprintf("slot %v, on trial", b.Slot)
	}
	return fmt.Sprintf("slot %v, by itself", b.Slot)
}

// started plays a boot and what its system, which is returned, does early.
func (s *stage) started(ctx context.Context, want bootloader.Slot, trial bool, version string) (*Machine, Boot, error) {
	if err := s.boots(want, trial, 1); err != nil {
		return nil, Boot{}, err
	}
	sys, err := s.open(version)
	if err != nil {
		return nil, Boot{}, err
	}
	b, err := sys.Started(ctx)
	return sys, b, err
}
