package loadertest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
)

// Subject is a loader under test.
type Subject struct {
	bootloader.Backend
	Files map[string][]byte // what Install gets
	Way   string            // the way of trying, one of Backend.Ways
	// Vars are the firmware's variables as the running system has them; nil: as they are. It is given nil while a disk
	// image is built.
	Vars func(efivar.Store) efivar.Store
	// Options is the firmware, and for a loader that package predict does not know, its model.
	Options predict.Options
	// Separate says that slots hold a kernel and an initramfs instead of a UKI.
	Separate bool
	// NotIsolated says that the loader itself writes where it finds the default too: a block that a cut destroys may
	// then cost more than the trial, and such disks are left out.
	NotIsolated bool
}

// Conformance holds a backend to what bootloader.Bootloader promises, judged by the model: single operations, then each
// of them cut at every write.
func Conformance(t *testing.T, subject Subject) {
	s := &suite{subject}
	t.Run("backend", s.backend)
	t.Run("install", s.install)
	t.Run("upgrade and confirm", s.upgrade)
	t.Run("fall back", s.fallBack)
	t.Run("counted tries", s.counted)
	t.Run("rollback", s.rollback)
	t.Run("trial that does not load", s.doesNotLoad)
	t.Run("refusals", s.refusals)
	t.Run("nothing to do writes nothing", s.idle)
	t.Run("crash", s.crash)
}

type suite struct{ Subject }

// arch is the name of the architecture of the subject's machines.
func (b Subject) arch() string { return (&Machine{Options: b.Options}).arch() }

func (s *suite) installed(t *testing.T) *Rig {
	t.Helper()
	r, err := s.Installed()
	noError(t, err)
	return r
}

// boots says what an outcome should be.
func (b Subject) boots(slot bootloader.Slot, version string, trial bool) func(predict.Outcome) error {
	_, m := payload(version, b.arch(), b.Separate)
	return func(o predict.Outcome) error {
		if o.Slot != slot || o.Digest != m.Files[0].SHA256 || o.Trial != trial || o.Stuck != "" || b.Separate &&
			o.Initrd != m.Files[1].SHA256 {
			return fmt.Errorf("booted %v; want slot %v with version %s, trial %v", o, slot, version, trial)
		}
		return nil
	}
}

// backend: what is asked of the kind of loader, without a machine or on an empty one.
func (s *suite) backend(t *testing.T) {
	holds(t, s.Name() != "", "its name is not empty")
	holds(t, s.MaxTries() >= 1, "MaxTries is at least 1")
	takes := s.Takes()
	wants := bootloader.UKIFile
	if s.Separate {
		wants = bootloader.KernelFile
	}
	holds(t, slices.Contains(takes.Slot, wants), "a slot may hold %s", wants)
	equal(t, takes.Own == "", takes.OwnFile == "")
	for _, name := range takes.Install {
		holds(t, s.Files[name] != nil, "the test gives %s", name)
	}
	holds(t, len(s.Ways()) != 1, "a single way has no name")

	m, err := s.machine()
	noError(t, err)
	noError(t, s.Fits(m.Place()))
	f, err := m.FS()
	noError(t, err)
	found, err := s.Probe(f)
	noError(t, err)
	holds(t, !found, "nothing is found on an empty boot file system")
	noError(t, s.Install(m.Place(), f, s.Files))
	found, err = s.Probe(f)
	noError(t, err)
	holds(t, found, "what was installed is found")
	loader, err := s.open(m, f, m.Vars)
	noError(t, err)
	st, err := loader.State()
	noError(t, err)
	equal(t, 0, len(st.Bootable), "slots that are bootable after an install")
	equal(t, bootloader.None, st.Default)
	_, replaces := loader.(bootloader.Replacer)
	equal(t, takes.Own != "", replaces, "a Replacer, where slots hold the loader")
}

func (s *suite) install(t *testing.T) {
	r := s.installed(t)
	st, err := r.State()
	noError(t, err)
	equal(t, bootloader.A, st.Active)
	equal(t, bootloader.A, st.Default)
	equal(t, bootloader.None, st.Armed)
	equal(t, []bootloader.Slot{bootloader.A}, st.Bootable)
	noError(t, st.Blocked)
	_, o := s.next(t, r)
	noError(t, s.boots(bootloader.A, "1", false)(o))
}

func (s *suite) upgrade(t *testing.T) {
	r := s.installed(t)
	slot, version := bootloader.B, 2
	for range 4 {
		noError(t, r.prepare(slot, fmt.Sprint(version)))
		probe := r.Clone()
		o, err := probe.Boot()
		noError(t, err)
		noError(t, s.boots(slot.Other(), fmt.Sprint(version-1), false)(o), "prepared alone must not boot")

		noError(t, r.arm(slot))
		st, err := r.State()
		noError(t, err)
		equal(t, slot, st.Armed)
		equal(t, 1, st.Tries)
		r, o = s.next(t, r)
		noError(t, s.boots(slot, fmt.Sprint(version), true)(o))
		st, err = r.State()
		noError(t, err)
		holds(t, st.Trial())
		equal(t, slot, st.Active)
		equal(t, slot.Other(), st.Default)

		noError(t, r.Confirm(slot))
		st, err = r.State()
		noError(t, err)
		equal(t, slot, st.Default)
		equal(t, 2, len(st.Bootable))
		r, o = s.next(t, r)
		noError(t, s.boots(slot, fmt.Sprint(version), false)(o))
		slot, version = slot.Other(), version+1
	}
}

func (s *suite) refusals(t *testing.T) {
	r := s.installed(t)
	one := r.Manifest("1")
	isError(t, r.Withdraw(bootloader.A), "the active and default slot")
	isError(t, r.Withdraw(bootloader.None))
	isError(t, r.Prepare(bootloader.A, one, 1))
	isError(t, r.Arm(bootloader.A, 1))
	isError(t, r.Arm(bootloader.B, 1), "not prepared")
	isError(t, r.Confirm(bootloader.B), "not complete")
	two := r.Manifest("2")
	isError(t, r.Prepare(bootloader.B, two, 1), "nothing is in the slot")

	noError(t, r.prepare(bootloader.B, "2"))
	isError(t, r.Prepare(bootloader.B, one, 1), "the slot holds something else")
	isError(t, r.Arm(bootloader.B, 0))
	noError(t, r.FS.Remove(bootloader.B.File(bootloader.ManifestFile)))
	isError(t, r.Arm(bootloader.B, 1), "no longer complete")
	isError(t, r.Confirm(bootloader.B))
	noError(t, r.prepare(bootloader.B, "2"))
	noError(t, r.arm(bootloader.B))
	r, _ = s.next(t, r)
	isError(t, r.Withdraw(bootloader.B), "the trial runs from it")
	isError(t, r.Withdraw(bootloader.A), "the default")
}

func (s *suite) idle(t *testing.T) {
	r := s.installed(t)
	noError(t, r.prepare(bootloader.B, "2"))
	m := r.Manifest("2")
	for name, op := range map[string]func() error{
		"state":   func() error { _, err := r.State(); return err },
		"disarm":  r.Disarm,
		"prepare": func() error { return r.Prepare(bootloader.B, m, 1) },
		"confirm": func() error { return r.Confirm(bootloader.A) },
	} {
		r.Disk.Record()
		noError(t, op(), name)
		equal(t, 0, len(changes(r)), name)
	}
	noError(t, r.arm(bootloader.B))
	r.Disk.Record()
	noError(t, r.Arm(bootloader.B, 1))
	equal(t, 0, len(changes(r)), "armed already")
}

// changes are the recorded operations but for flushes, which may be needed though nothing is written.
func changes(r *Rig) []disktest.Op {
	return slices.DeleteFunc(r.Disk.Trace().Ops, func(o disktest.Op) bool { return o.Action == disktest.Flush })
}
