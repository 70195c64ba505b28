package loadertest

import (
	"testing"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/predict"
)

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
