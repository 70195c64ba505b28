package loadertest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
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

// Rig is a machine with its loader opened.
type Rig struct {
	*Machine
	FS *bootfs.FS
	bootloader.Bootloader
}

// Rig opens the machine anew, as after a boot.
func (b Subject) Rig(m *Machine) (*Rig, error) {
	f, err := m.FS()
	if err != nil {
		return nil, err
	}
	loader, err := b.open(m, f, m.Vars)
	if err != nil {
		return nil, err
	}
	return &Rig{m, f, loader}, nil
}

// open opens the loader of a machine; vars is nil while a disk image is built.
func (b Subject) open(m *Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error) {
	if b.Vars != nil {
		vars = b.Vars(vars)
	}
	l, err := b.Open(bootloader.Config{Disk: m.Place(), FS: f, Vars: vars, Cmdline: m.Cmdline})
	if err != nil || b.Way == "" {
		return l, err
	}
	chooser, ok := l.(bootloader.WayChooser)
	if !ok {
		return nil, fmt.Errorf("%s has ways of trying, and is no WayChooser", b.Name())
	}
	return l, chooser.TryBy(b.Way)
}

// machine returns a machine with empty slots and nothing else.
func (b Subject) machine() (*Machine, error) {
	m, err := NewMachine(512)
	if err != nil {
		return nil, err
	}
	m.Options, m.Separate = b.Options, b.Separate
	f, err := m.FS()
	if err != nil {
		return nil, err
	}
	for _, s := range bootloader.Slots() {
		if err := f.Mkdir(s.Dir()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Installed returns a machine that runs version 1 from slot A, after its first boot.
func (b Subject) Installed() (*Rig, error) {
	m, err := b.machine()
	if err != nil {
		return nil, err
	}
	if err := b.installAll(m); err != nil {
		return nil, err
	}
	if _, err := m.Boot(); err != nil {
		return nil, err
	}
	return b.Rig(m)
}

// installAll is a whole first install, as an image builder does it: the firmware's variables are not there yet.
func (b Subject) installAll(m *Machine) error {
	f, err := m.FS()
	if err != nil {
		return err
	}
	m.Disk.Step("loader")
	if err := b.Install(m.Place(), f, b.Files); err != nil {
		return err
	}
	loader, err := b.open(m, f, nil)
	if err != nil {
		return err
	}
	m.Disk.Step("files")
	held, err := m.Fill(f, bootloader.A, "1")
	if err != nil {
		return err
	}
	m.Disk.Step("prepare")
	if err := loader.Prepare(bootloader.A, held, 1); err != nil {
		return err
	}
	m.Disk.Step("confirm")
	return loader.Confirm(bootloader.A)
}

// steps of an upgrade of slot s, up to a complete slot that is prepared and not armed.
func (r *Rig) prepare(s bootloader.Slot, version string) error {
	r.Disk.Step("disarm")
	if err := r.Disarm(); err != nil {
		return err
	}
	r.Disk.Step("withdraw")
	if err := r.Withdraw(s); err != nil {
		return err
	}
	r.Disk.Step("files")
	if err := r.FS.Clear(s.Dir()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m, err := r.Fill(r.FS, s, version)
	if err != nil {
		return err
	}
	r.Disk.Step("prepare")
	return r.Prepare(s, m, 1)
}

func (r *Rig) arm(s bootloader.Slot) error {
	r.Disk.Step("arm")
	return r.Arm(s, 1)
}

// next boots and opens the machine anew.
func (b Subject) next(t *testing.T, r *Rig) (*Rig, predict.Outcome) {
	t.Helper()
	o, err := r.Boot()
	noError(t, err)
	again, err := b.Rig(r.Machine)
	noError(t, err)
	return again, o
}

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

func (s *suite) fallBack(t *testing.T) {
	r := s.installed(t)
	noError(t, r.prepare(bootloader.B, "2"))
	noError(t, r.arm(bootloader.B))
	r, o := s.next(t, r)
	noError(t, s.boots(bootloader.B, "2", true)(o))
	r, o = s.next(t, r)
	noError(t, s.boots(bootloader.A, "1", false)(o))
	st, err := r.State()
	noError(t, err)
	equal(t, bootloader.A, st.Active)
	equal(t, bootloader.None, st.Armed)

	// The firmware's variables lost between two boots.
	r.Vars = efivar.NewMemory()
	_, o = s.next(t, r)
	noError(t, s.boots(bootloader.A, "1", false)(o))
}

func (s *suite) rollback(t *testing.T) {
	r := s.installed(t)
	noError(t, r.prepare(bootloader.B, "2"))
	noError(t, r.arm(bootloader.B))
	r, _ = s.next(t, r)
	noError(t, r.Confirm(bootloader.B))
	r, _ = s.next(t, r)
	noError(t, r.Prepare(bootloader.A, r.Manifest("1"), 1))
	noError(t, r.arm(bootloader.A))
	r, o := s.next(t, r)
	noError(t, s.boots(bootloader.A, "1", true)(o))
	_, o = s.next(t, r)
	noError(t, s.boots(bootloader.B, "2", false)(o))
}

// counted: each count that the loader knows is used up and no more, and a confirm in the middle ends it.
func (s *suite) counted(t *testing.T) {
	most := s.MaxTries()
	r := s.installed(t)
	noError(t, r.prepare(bootloader.B, "2"))
	isError(t, r.Prepare(bootloader.B, r.Manifest("2"), most+1))
	noError(t, r.Prepare(bootloader.B, r.Manifest("2"), most))
	isError(t, r.Arm(bootloader.B, most+1))
	for tries := 1; tries <= most; tries++ {
		noError(t, r.Arm(bootloader.B, tries))
		for left := tries; left > 0; left-- {
			st, err := r.State()
			noError(t, err)
			equal(t, bootloader.B, st.Armed)
			if !st.Again {
				equal(t, left, st.Tries)
			}
			var o predict.Outcome
			r, o = s.next(t, r)
			noError(t, s.boots(bootloader.B, "2", true)(o), "%d of %d tries left", left, tries)
			noError(t, r.again(left-1))
		}
		var o predict.Outcome
		r, o = s.next(t, r)
		noError(t, s.boots(bootloader.A, "1", false)(o))
		st, err := r.State()
		noError(t, err)
		equal(t, bootloader.None, st.Armed)
		equal(t, 0, st.Tries)
	}
	noError(t, r.Arm(bootloader.B, most))
	r, _ = s.next(t, r)
	noError(t, r.again(most-1))
	noError(t, r.Confirm(bootloader.B))
	for range most + 1 {
		var o predict.Outcome
		r, o = s.next(t, r)
		noError(t, s.boots(bootloader.B, "2", false)(o))
	}
}

// again is what a trial does with the tries that are left, where the loader does not count them.
func (r *Rig) again(left int) error {
	st, err := r.State()
	if err != nil || !st.Again || left == 0 {
		return err
	}
	return r.Arm(st.Active, left)
}

// doesNotLoad: a kernel that was complete when it was armed, and cannot be loaded at the boot. One power cycle ends in
// the default.
func (s *suite) doesNotLoad(t *testing.T) {
	files, _ := payload("2", s.arch(), s.Separate)
	image := files[0].data
	for name, content := range map[string][]byte{
		"truncated": image[:len(image)-600], "empty": {}, "random": []byte("this is no image at all"), "missing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := s.installed(t)
			noError(t, r.prepare(bootloader.B, "2"))
			noError(t, r.arm(bootloader.B))
			path := bootloader.B.File(files[0].name)
			if content == nil {
				noError(t, r.FS.Remove(path))
			} else {
				noError(t, r.FS.WriteFile(path, content))
			}
			_, o := s.next(t, r)
			noError(t, s.boots(bootloader.A, "1", false)(o))
		})
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
