package upgrade

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
	"github.com/pawl-os/pawl/upgrade/versions"
)

// loaderStatus compares the installed loader with that of the default, if the default runs.
func (m *Machine) loaderStatus(st bootloader.State) (report.Loader, error) {
	r, ok := m.Loader.(bootloader.Replacer)
	if !ok || st.Active == bootloader.None || st.Trial() {
		return report.Loader{}, nil
	}
	slot := m.slot(st.Active)
	c, err := r.Compare(st.Active)
	if err != nil {
		return report.Loader{}, err
	}
	s := report.Loader{
		Slot: st.Active, Version: slot.Version(), Installed: c.Installed, Own: c.Own, Same: c.Same, Notes: c.Notes,
	}
	ours := m.ours(c)
	switch {
	case c.Same || c.Own == "":
	case bootloader.NeverStarts(c.Unsafe):
		s.Left = c.Unsafe
	case ours != nil:
		s.Left = ours
	case c.Older || m.newer(st.Active.Other(), slot, c.Digest):
		s.Left = bootloader.ErrOlder
	case c.Unsafe != nil:
		s.Left = c.Unsafe
	default:
		s.Waits, s.Left = m.waits(r, st.Active, slot)
	}
	return s, nil
}

// waits reports whether firmware is to start the loader of a slot once, and why it is left where that came to nothing
// or cannot be done.
func (m *Machine) waits(r bootloader.Replacer, s bootloader.Slot, slot report.Slot) (bool, error) {
	own, err := ownOf(slot)
	if err != nil {
		return false, err
	}
	known, err := m.loaderRecord()
	switch {
	case err != nil:
		return false, fmt.Errorf("it could not be remembered whether it starts: %w: %w", err, bootloader.ErrRisk)
	case m.BootID == "":
		return false, fmt.Errorf("this boot has no id, so it could not be told whether it starts: %w",
			bootloader.ErrRisk)
	case !known.tried(own.SHA256):
		return false, nil
	case known.Ended && known.Failed != "":
		return false, fmt.Errorf("%s: %w", known.Failed, bootloader.ErrRefused)
	case known.Ended:
		return false, nil
	}
	t, err := r.Tried(s)
	if err != nil {
		return false, fmt.Errorf("%w: %w", bootloader.ErrRisk, err)
	}
	return t.Waits, nil
}

// newer reports whether the installed loader is that of a higher version, which the other slot holds still: after a
// rollback. It is what tells loaders apart that do not state a version.
func (m *Machine) newer(other bootloader.Slot, than report.Slot, digest string) bool {
	held := m.slot(other)
	if held.Content != report.Complete || !versions.Higher(held.Manifest.Version, than.Manifest.Version) {
		return false
	}
	for _, f := range held.Manifest.Files {
		if isOwn(f.Name) && f.SHA256 == digest {
			return true
		}
	}
	return false
}

// LoaderOptions are choices of ReplaceLoader. The zero value takes no risk.
type LoaderOptions struct {
	Force    bool                 // whatever Left says, but where it NeverStarts: the machine may then not start
	Progress func(progress.Event) // may be nil
}

// ReplaceLoader installs the loader that the running version has brought, when it differs from the one that is
// installed. It is called once that version is confirmed, by itself, and in later boots: what it does is no part of an
// upgrade, and its failure is none of one.
//
// A loader is confirmed like a version. The first call has the firmware start the version's own copy once, and returns
// a status that Waits; no restart is asked for. [Machine.Started] sees whether that came to pass, and only then does a
// call install it. On a trial it is [ErrTrial]. The errors of [bootloader.Replacer] say why it was left. The status is
// that of afterwards.
func (m *Machine) ReplaceLoader(ctx context.Context, o LoaderOptions) (report.Loader, error) {
	s, err := m.replaceLoader(ctx, o)
	if err != nil {
		return s, fmt.Errorf("replace the loader: %w", err)
	}
	return s, nil
}

// replaceLoader has these steps. If power fails in
//
//	verify  the default, started by the old loader: nothing is written
//	try     the default, started by the old loader, or once by the copy
//	loader  the default, started by the old loader, the new one, or the version's own copy of it in the slot, which
//	        the firmware was told of first: see bootorder.Order.Replace. Run again, it finishes
func (m *Machine) replaceLoader(ctx context.Context, o LoaderOptions) (report.Loader, error) {
	st, err := m.Loader.State()
	switch {
	case err != nil:
		return report.Loader{}, fmt.Errorf("read the loader's state: %w", err)
	case st.Active == bootloader.None:
		return report.Loader{}, unreported(st)
	case st.Trial():
		return report.Loader{}, m.notTheDefault(st)
	case st.Armed != bootloader.None:
		return report.Loader{}, fmt.Errorf("slot %s is armed (let it boot, or disarm it with a rollback)", st.Armed)
	}
	slot, err := m.active(st)
	if err != nil {
		return report.Loader{}, err
	}
	m.noticeLoader(st) // where no Started did
	s, err := m.loaderStatus(st)
	if err != nil || s.Own == "" {
		return s, err
	}
	if s.Left != nil && (!o.Force || bootloader.NeverStarts(s.Left)) {
		return s, fmt.Errorf("%s is installed, version %s has %s: %w", s.Installed, s.Version, s.Own, s.Left)
	}
	own, err := ownOf(slot)
	if err != nil {
		return s, err
	}
	r := m.Loader.(bootloader.Replacer) // loaderStatus has found one
	proved := s.Same || o.Force
	steps := []step{{progress.StepVerify, func(ctx context.Context) error {
		return m.readBack(ctx, slot.Slot, []bootloader.File{own}, nil, nil)
	}}}
	if !proved {
		steps = append(steps, step{progress.StepTry, func(context.Context) (err error) {
			proved, err = m.provedLoader(r, slot.Slot, own.SHA256)
			return err
		}})
	}
	err = m.walk(ctx, append(steps, step{progress.StepLoader, func(context.Context) error {
		if !proved {
			return nil
		}
		return r.Replace(slot.Slot, bootloader.ReplaceOptions{Force: o.Force, DropCache: m.DropCache})
	}}), o.Progress)
	if err != nil {
		return s, err
	}
	return m.loaderStatus(st)
}

// InWholeDisk reports whether the loader is in none of the partitions that Open opens, so that it is replaced only with
// OpenOptions.Whole.
func (m *Machine) InWholeDisk() bool {
	r, ok := m.Loader.(bootloader.Replacer)
	return ok && r.InWholeDisk()
}

// ownOf is what the manifest of a slot says of the loader in it.
func ownOf(s report.Slot) (bootloader.File, error) {
	for _, f := range s.Manifest.Files {
		if isOwn(f.Name) {
			return f, nil
		}
	}
	return bootloader.File{}, fmt.Errorf("%s has a loader that its manifest does not list: %w", s, ErrNotComplete)
}

// Repair removes what stands in an upgrade's way and is certainly harmless to remove: variables of the firmware that
// name a slot in place of the loader's own default, and boot entries of ours that start nothing. What boots by itself
// stays. During a trial it refuses.
func (m *Machine) Repair(context.Context) error {
	st, err := m.Loader.State()
	switch {
	case err != nil:
		return fmt.Errorf("repair: read the loader's state: %w", err)
	case st.Trial():
		return fmt.Errorf("repair: slot %v runs on trial: confirm it, or restart to fall back", st.Active)
	}
	if l, ok := m.Loader.(bootloader.Repairer); ok {
		return l.Repair()
	}
	if r, ok := m.Loader.(bootloader.Replacer); ok {
		return r.EnsureStart()
	}
	return nil
}

// ensureStart sees to it that firmware starts the loader by an entry of our own, which no change of hardware takes
// away. A boot goes on without.
func (m *Machine) ensureStart(st bootloader.State) {
	r, ok := m.Loader.(bootloader.Replacer)
	if !ok || st.Active == bootloader.None || st.Active != st.Default || st.Armed != bootloader.None {
		return
	}
	if err := r.EnsureStart(); err != nil {
		m.log.Warn("the firmware's boot order is as it was", "reason", err)
	}
}
