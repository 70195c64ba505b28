package loadertest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition/disktest"
)

// Backend is a Bootloader under test.
type Backend struct {
	// Install puts the loader on an empty boot file system, and on the machine's disk if it needs more than that.
	Install func(m *Machine, f *bootfs.FS) error
	// Open returns the Bootloader of a running machine. vars is nil while a disk image is built.
	Open func(m *Machine, f *bootfs.FS, vars efivar.Store) (bootloader.Bootloader, error)
	// Options is the firmware.
	Options predict.Options
	// Separate says that slots hold a kernel and an initramfs instead of a UKI.
	Separate bool
	// Tries is the highest number of trial boots that the loader counts; 0 is 1.
	Tries int
	// NotIsolated says that the loader itself writes where it finds the default too: a block that a cut destroys may then cost
	// more than the trial, and such disks are left out.
	NotIsolated bool
}

// Conformance holds a backend to what bootloader.Bootloader promises, judged by the model: single operations, then each
// of them cut at every write.
func Conformance(t *testing.T, b Backend) {
	s := &suite{Backend: b}
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

type suite struct{ Backend }

// Rig is a machine with its loader opened.
type Rig struct {
	*Machine
	FS *bootfs.FS
	bootloader.Bootloader
}

// Rig opens the machine anew, as after a boot.
func (b Backend) Rig(m *Machine) (*Rig, error) {
	f, err := m.FS()
	if err != nil {
		return nil, err
	}
	loader, err := b.Open(m, f, m.Vars)
	if err != nil {
		return nil, err
	}
	return &Rig{m, f, loader}, nil
}

// machine returns an empty machine.
func (b Backend) machine() (*Machine, error) {
	m, err := NewMachine(512)
	if err != nil {
		return nil, err
	}
	m.Options, m.Separate = b.Options, b.Separate
	return m, nil
}

// Installed returns a machine that runs version 1 from slot A, after its first boot.
func (b Backend) Installed() (*Rig, error) {
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
func (b Backend) installAll(m *Machine) error {
	f, err := m.FS()
	if err != nil {
		return err
	}
	m.Disk.Step("loader")
	if err := b.Install(m, f); err != nil {
		return err
	}
	loader, err := b.Open(m, f, nil)
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
func (b Backend) next(t *testing.T, r *Rig) (*Rig, predict.Outcome) {
	t.Helper()
	o, err := r.Boot()
	require.NoError(t, err)
	again, err := b.Rig(r.Machine)
	require.NoError(t, err)
	return again, o
}

func (s *suite) installed(t *testing.T) *Rig {
	t.Helper()
	r, err := s.Installed()
	require.NoError(t, err)
	return r
}

// boots says what an outcome should be.
func (b Backend) boots(slot bootloader.Slot, version string, trial bool) func(predict.Outcome) error {
	_, m := payload(version, b.Separate)
	return func(o predict.Outcome) error {
		if o.Slot != slot || o.Digest != m.Files[0].SHA256 || o.Trial != trial || o.Stuck != "" || b.Separate && o.Initrd != m.Files[1].SHA256 {
			return fmt.Errorf("booted %v; want slot %v with version %s, trial %v", o, slot, version, trial)
		}
		return nil
	}
}

func (s *suite) install(t *testing.T) {
	r := s.installed(t)
	st, err := r.State()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, st.Active)
	require.Equal(t, bootloader.A, st.Default)
	require.Equal(t, bootloader.None, st.Armed)
	require.Equal(t, []bootloader.Slot{bootloader.A}, st.Bootable)
	require.NoError(t, st.Blocked)
	_, o := s.next(t, r)
	require.NoError(t, s.boots(bootloader.A, "1", false)(o))
}

func (s *suite) upgrade(t *testing.T) {
	r := s.installed(t)
	slot, version := bootloader.B, 2
	for range 4 {
		require.NoError(t, r.prepare(slot, fmt.Sprint(version)))
		probe := r.Clone()
		o, err := probe.Boot()
		require.NoError(t, err)
		require.NoError(t, s.boots(slot.Other(), fmt.Sprint(version-1), false)(o), "prepared alone must not boot")

		require.NoError(t, r.arm(slot))
		st, err := r.State()
		require.NoError(t, err)
		require.Equal(t, slot, st.Armed)
		require.Equal(t, 1, st.Tries)
		r, o = s.next(t, r)
		require.NoError(t, s.boots(slot, fmt.Sprint(version), true)(o))
		st, err = r.State()
		require.NoError(t, err)
		require.True(t, st.Trial())
		require.Equal(t, slot, st.Active)
		require.Equal(t, slot.Other(), st.Default)

		require.NoError(t, r.Confirm(slot))
		st, err = r.State()
		require.NoError(t, err)
		require.Equal(t, slot, st.Default)
		require.Len(t, st.Bootable, 2)
		r, o = s.next(t, r)
		require.NoError(t, s.boots(slot, fmt.Sprint(version), false)(o))
		slot, version = slot.Other(), version+1
	}
}

func (s *suite) fallBack(t *testing.T) {
	r := s.installed(t)
	require.NoError(t, r.prepare(bootloader.B, "2"))
	require.NoError(t, r.arm(bootloader.B))
	r, o := s.next(t, r)
	require.NoError(t, s.boots(bootloader.B, "2", true)(o))
	r, o = s.next(t, r)
	require.NoError(t, s.boots(bootloader.A, "1", false)(o))
	st, err := r.State()
	require.NoError(t, err)
	require.Equal(t, bootloader.A, st.Active)
	require.Equal(t, bootloader.None, st.Armed)

	// The firmware's variables lost between two boots.
	r.Vars = efivar.NewMemory()
	_, o = s.next(t, r)
	require.NoError(t, s.boots(bootloader.A, "1", false)(o))
}

func (s *suite) rollback(t *testing.T) {
	r := s.installed(t)
	require.NoError(t, r.prepare(bootloader.B, "2"))
	require.NoError(t, r.arm(bootloader.B))
	r, _ = s.next(t, r)
	require.NoError(t, r.Confirm(bootloader.B))
	r, _ = s.next(t, r)
	require.NoError(t, r.Prepare(bootloader.A, r.Manifest("1"), 1))
	require.NoError(t, r.arm(bootloader.A))
	r, o := s.next(t, r)
	require.NoError(t, s.boots(bootloader.A, "1", true)(o))
	_, o = s.next(t, r)
	require.NoError(t, s.boots(bootloader.B, "2", false)(o))
}

// counted: each count that the loader knows is used up and no more, and a confirm in the middle ends it.
func (s *suite) counted(t *testing.T) {
	most := max(s.Tries, 1)
	r := s.installed(t)
	require.NoError(t, r.prepare(bootloader.B, "2"))
	require.Error(t, r.Prepare(bootloader.B, r.Manifest("2"), most+1))
	require.NoError(t, r.Prepare(bootloader.B, r.Manifest("2"), most))
	require.Error(t, r.Arm(bootloader.B, most+1))
	for tries := 1; tries <= most; tries++ {
		require.NoError(t, r.Arm(bootloader.B, tries))
		for left := tries; left > 0; left-- {
			st, err := r.State()
			require.NoError(t, err)
			require.Equal(t, bootloader.B, st.Armed)
			if !st.Again {
				require.Equal(t, left, st.Tries)
			}
			var o predict.Outcome
			r, o = s.next(t, r)
			require.NoError(t, s.boots(bootloader.B, "2", true)(o), "%d of %d tries left", left, tries)
			require.NoError(t, r.again(left-1))
		}
		var o predict.Outcome
		r, o = s.next(t, r)
		require.NoError(t, s.boots(bootloader.A, "1", false)(o))
		st, err := r.State()
		require.NoError(t, err)
		require.Equal(t, bootloader.None, st.Armed)
		require.Zero(t, st.Tries)
	}
	require.NoError(t, r.Arm(bootloader.B, most))
	r, _ = s.next(t, r)
	require.NoError(t, r.again(most-1))
	require.NoError(t, r.Confirm(bootloader.B))
	for range most + 1 {
		var o predict.Outcome
		r, o = s.next(t, r)
		require.NoError(t, s.boots(bootloader.B, "2", false)(o))
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

// doesNotLoad: a kernel that was complete when it was armed, and cannot be loaded at the boot. One power cycle ends in the
// default.
func (s *suite) doesNotLoad(t *testing.T) {
	files, _ := payload("2", s.Separate)
	image := files[0].data
	for name, content := range map[string][]byte{
		"truncated": image[:len(image)-600], "empty": {}, "random": []byte("this is no image at all"), "missing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := s.installed(t)
			require.NoError(t, r.prepare(bootloader.B, "2"))
			require.NoError(t, r.arm(bootloader.B))
			path := bootloader.B.File(files[0].name)
			if content == nil {
				require.NoError(t, r.FS.Remove(path))
			} else {
				require.NoError(t, r.FS.WriteFile(path, content))
			}
			_, o := s.next(t, r)
			require.NoError(t, s.boots(bootloader.A, "1", false)(o))
		})
	}
}

func (s *suite) refusals(t *testing.T) {
	r := s.installed(t)
	one := r.Manifest("1")
	require.Error(t, r.Withdraw(bootloader.A), "the active and default slot")
	require.Error(t, r.Withdraw(bootloader.None))
	require.Error(t, r.Prepare(bootloader.A, one, 1))
	require.Error(t, r.Arm(bootloader.A, 1))
	require.Error(t, r.Arm(bootloader.B, 1), "not prepared")
	require.Error(t, r.Confirm(bootloader.B), "not complete")
	two := r.Manifest("2")
	require.Error(t, r.Prepare(bootloader.B, two, 1), "nothing is in the slot")

	require.NoError(t, r.prepare(bootloader.B, "2"))
	require.Error(t, r.Prepare(bootloader.B, one, 1), "the slot holds something else")
	require.Error(t, r.Arm(bootloader.B, 0))
	require.NoError(t, r.FS.Remove(bootloader.B.File(bootloader.ManifestFile)))
	require.Error(t, r.Arm(bootloader.B, 1), "no longer complete")
	require.Error(t, r.Confirm(bootloader.B))
	require.NoError(t, r.prepare(bootloader.B, "2"))
	require.NoError(t, r.arm(bootloader.B))
	r, _ = s.next(t, r)
	require.Error(t, r.Withdraw(bootloader.B), "the trial runs from it")
	require.Error(t, r.Withdraw(bootloader.A), "the default")
}

func (s *suite) idle(t *testing.T) {
	r := s.installed(t)
	require.NoError(t, r.prepare(bootloader.B, "2"))
	m := r.Manifest("2")
	for name, op := range map[string]func() error{
		"state":   func() error { _, err := r.State(); return err },
		"disarm":  r.Disarm,
		"prepare": func() error { return r.Prepare(bootloader.B, m, 1) },
		"confirm": func() error { return r.Confirm(bootloader.A) },
	} {
		r.Disk.Record()
		require.NoError(t, op(), name)
		require.Empty(t, changes(r), name)
	}
	require.NoError(t, r.arm(bootloader.B))
	r.Disk.Record()
	require.NoError(t, r.Arm(bootloader.B, 1))
	require.Empty(t, changes(r), "armed already")
}

// changes are the recorded operations but for flushes, which may be needed though nothing is written.
func changes(r *Rig) []disktest.Op {
	return slices.DeleteFunc(r.Disk.Trace().Ops, func(o disktest.Op) bool { return o.Kind == disktest.Flush })
}
