package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// Plan is what an upgrade would do now. Making one writes nothing.
type Plan struct {
	Kind      attempt.Kind
	From, To  bootloader.Slot
	Old       string // version that runs
	Version   string // version that the image states; empty if it does not
	Image     string // digest
	Reference string
	Lost      string          // version in the target, which is gone once the upgrade begins; empty if there is none
	Bytes     int64           // bytes that the target's files will take; 0 if the image does not say beforehand
	Room      int64           // bytes that the target can hold
	Fetch     int64           // packed bytes that are downloaded at most
	Reused    []Reuse         // files that are not downloaded, or not from their beginning
	Requests  int             // for parts of layers: of patches, and of those of which the rest is reused in chunks
	Whole     string          // why more is downloaded than chunks or a patch would need; "" where none is
	Restarts  bool            // a download that is cut off starts again: the image has no table of frames
	Steps     []progress.Step // in order
	Preserve  bool            // EPHEMERAL is kept
	Warnings  []string        // one sentence each
}

// Plan looks at the machine and at what img says of itself, and returns what Apply would do, or the error with which
// Apply would refuse. It writes nothing, and of the image's layers it reads tables of chunks only.
func (m *Machine) Plan(ctx context.Context, img *image.Image, o Options) (Plan, error) {
	o2, err := m.upgrade(ctx, img, o, attempt.Prepared)
	if err != nil {
		return Plan{}, fmt.Errorf("plan upgrade to %s: %w", img.Reference, err)
	}
	o2.look(ctx)
	if half := m.Boot.Half() - manifestRoom; o2.plan.Bytes > half {
		o2.plan.Warnings = append(o2.plan.Warnings,
			fmt.Sprintf("with %d bytes in slot %s, slot %s has no room for another image of that size: each can hold "+
				"%d beside the other",
				o2.plan.Bytes, o2.plan.To, o2.plan.From, half))
	}
	return o2.plan, nil
}

// ready reads the loader's state and refuses what no attempt may begin in.
func (m *Machine) ready() (bootloader.State, error) {
	st, err := m.Loader.State()
	switch {
	case err != nil:
		return st, fmt.Errorf("read the loader's state: %w", err)
	case m.metaErr != nil:
		return st, fmt.Errorf("%w; the attempt could not be recorded (make META empty)", m.metaErr)
	case st.Active == bootloader.None:
		return st, unreported(st)
	case st.Trial():
		return st, m.notTheDefault(st)
	case st.Blocked != nil:
		return st, st.Blocked
	}
	_, err = m.attempt() // or it would be found unreadable only after the disarm
	return st, err
}

// unreported is the error of a machine whose boot reported no slot: the variables to do so are missing, or it runs from
// elsewhere.
func unreported(st bootloader.State) error {
	if errors.Is(st.Blocked, bootloader.ErrNoVariables) {
		return fmt.Errorf("no boot reported a slot: %w", st.Blocked)
	}
	return fmt.Errorf("no boot reported a slot of this disk, so it is not known which one runs: %s%w",
		strings.Join(append(st.Warnings, ""), " "), bootloader.ErrAmbiguous)
}

// active checks that what runs is what the active slot says it holds.
func (m *Machine) active(st bootloader.State) (report.Slot, error) {
	s := m.slot(st.Active)
	if s.Content == report.Complete && m.Version != "" && s.Manifest.Named() && s.Manifest.Version != m.Version {
		return s, fmt.Errorf("version %s is running, slot %s holds %s: %w", m.Version, st.Active, s.Manifest.Version,
			bootloader.ErrAmbiguous)
	}
	return s, nil
}

// upgrade makes the operation that writes img into the target, after every check that needs no layer of it.
func (m *Machine) upgrade(ctx context.Context, img *image.Image, o Options, state attempt.State) (*writing, error) {
	if err := bootloader.CheckTries(o.tries(), m.backend.MaxTries()); err != nil {
		return nil, err
	}
	if err := m.tryBy(o.Way); err != nil {
		return nil, err
	}
	if err := checkStated(img); err != nil {
		return nil, err
	}
	st, err := m.ready()
	if err != nil {
		return nil, err
	}
	from, mismatch := m.active(st)
	if mismatch != nil && !o.Force {
		return nil, mismatch
	}
	if from.Content == report.Complete && from.Manifest.Arch != img.Arch {
		return nil, fmt.Errorf("it is for %s, and this machine runs %s: %w", img.Arch, from.Manifest.Arch,
			image.ErrPlatform)
	}
	to := m.slot(st.Active.Other())
	op := &writing{log: m.log, vars: m.Vars, filling: filling{img: img, takes: takesFor(m.backend, img)}}
	op.operation = operation{m: m, Options: o, state: state, plan: Plan{
		Kind: attempt.Upgrade, From: from.Slot, To: to.Slot, Old: from.Version(), Version: img.Version,
		Image: img.Digest, Reference: img.Reference, Preserve: o.Preserve, Warnings: st.Warnings,
	}}
	if mismatch != nil {
		op.plan.Warnings = append(op.plan.Warnings, mismatch.Error())
	}
	if m.Version != "" {
		op.plan.Old = m.Version
	}
	if to.Content == report.Complete {
		op.plan.Lost = to.Manifest.Version
	}
	if from.Content == report.Complete && from.Manifest.Image == img.Digest && !o.Force {
		return nil, fmt.Errorf("%s (%s): %w", img.Digest, from.Manifest.Version, ErrSame)
	}
	bad, err := m.knownBad()
	if err != nil {
		op.plan.Warnings = append(op.plan.Warnings, "the list of known-bad images cannot be read: "+err.Error())
	}
	for _, b := range bad {
		if b.Image != img.Digest {
			continue
		}
		if !o.Force {
			return nil, fmt.Errorf("%s (%s) on %s: %s: %w (use another version, or force)", b.Image, b.Version,
				b.When.Format("2006-01-02"), b.Reason, ErrKnownBad)
		}
		op.plan.Warnings = append(op.plan.Warnings, "this image failed its trial before: "+b.Reason)
	}
	if err := op.allowed(); err != nil {
		return nil, err
	}
	if err := op.room(); err != nil {
		return nil, err
	}
	if err := op.rehearseAll(ctx); err != nil {
		return nil, err
	}
	for _, s := range op.steps() {
		op.plan.Steps = append(op.plan.Steps, s.name)
	}
	return op, nil
}

// checkStated refuses what an image states and what cannot be a version. What it does not state is found inside.
func checkStated(img *image.Image) error {
	if img.Version == "" {
		return nil
	}
	if err := bootloader.CheckVersion(img.Version); err != nil {
		return fmt.Errorf("what the image states: %w: %w (build it with another version, or without: the system's "+
			"own counts)", err, ErrUnfit)
	}
	return nil
}

// allowed asks the version policy. What is forced is a warning.
func (op *filling) allowed() error {
	if op.m == nil { // an install: nothing came before
		return nil
	}
	for _, warning := range []string{op.m.VersionsWarning, versions.Unjudged(op.plan.Old, op.plan.Version)} {
		if warning != "" {
			op.plan.Warnings = append(op.plan.Warnings, warning)
		}
	}
	err := op.m.Versions.Allow(op.plan.Old, op.plan.Version, op.img.Annotations[versions.FromAnnotation])
	if err != nil && op.Force {
		op.plan.Warnings = append(op.plan.Warnings, err.Error())
		return nil
	}
	return err
}

// room finds how much the target can hold once it is cleared, and refuses an image that says it is larger.
func (op *filling) room() error {
	free, err := op.m.capacity(op.plan.To)
	if err != nil {
		return err
	}
	op.plan.Room = max(free-manifestRoom, 0)
	has := map[string]bool{}
	for _, a := range op.img.Assets {
		has[a.Name] = true
		if op.takes[a.Name] != "" {
			op.plan.Bytes += a.Size
		}
	}
	if op.img.Assets != nil {
		if err := op.takes.lacks(op.img.Reference, func(asset string) bool { return has[asset] }); err != nil {
			return err
		}
	}
	if way, usual := op.m.wayOf(op.Way); way.UKI && op.takes[format.UKI] == "" {
		return fmt.Errorf("%s: no %s in it, and by %s only a UKI can be tried: %w (try it by %s)", op.img.Reference,
			format.UKI, way.Name, ErrUnfit, usual.Name)
	}
	for _, a := range op.img.Assets {
		if err := op.entryHolds(a); err != nil {
			return err
		}
	}
	if err := op.placeImages(op.m.halves); err != nil {
		return err
	}
	if err := op.apartFromRunning(); err != nil {
		return err
	}
	return op.fits(op.plan.Bytes)
}

// entryHolds refuses kernel arguments that the loader has no room for, by their size alone: a line end may be part of
// it.
func (op *filling) entryHolds(a image.Asset) error {
	l, ok := op.m.Loader.(bootloader.ArgumentChecker)
	if !ok || a.Name != format.Cmdline || op.takes[a.Name] == "" {
		return nil
	}
	if room := l.ArgumentsRoom(cmp.Or(op.img.Version, op.img.Digest)); a.Size > int64(room)+1 {
		return fmt.Errorf("%s has %d bytes, and %s has room for %d: %w (shorten it, or build a UKI, which holds its "+
			"own)",
			a.Name, a.Size, op.m.backend.Name(), room, ErrUnfit)
	}
	return nil
}

// fits refuses files of so many bytes in all that the target cannot hold.
func (op *operation) fits(bytes int64) error {
	if bytes > op.plan.Room {
		return fmt.Errorf("%d bytes into slot %s, which can hold %d: %w", bytes, op.plan.To, op.plan.Room,
			ErrDoesNotFit)
	}
	return nil
}

// manifestRoom is what a slot keeps free for its manifest and for the growth of its directory.
const manifestRoom = 64 << 10

// capacity is how many bytes slot s can hold once it is cleared.
func (m *Machine) capacity(s bootloader.Slot) (int64, error) {
	free, err := m.Boot.Free(s.Dir())
	if err != nil {
		return 0, fmt.Errorf("free space for slot %s: %w", s, err)
	}
	entries, err := m.Boot.ReadDir(s.Dir())
	if err != nil {
		return free, nil // damaged, as a cut may leave it: what it takes is found when it is cleared
	}
	for _, e := range entries {
		free += e.Size
	}
	return free, nil
}
