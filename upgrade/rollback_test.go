package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

func TestARollbackToWhatNeverProvedItselfIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		before func(r *rig)
		err    error
		text   string
	}{
		"it fell back, with evidence": {func(r *rig) {
			r.upgrade(r.image("2.0.0"))
			r.boots(bootloader.B, "2.0.0")
			r.boots(bootloader.A, "1.0.0")
		}, upgrade.ErrKnownBad, "ended without a word"},
		"it fell back, and nobody knows why": {func(r *rig) {
			r.upgrade(r.image("2.0.0"))
			require.NoError(r.t, r.Boot()) // and dies before it says a word
			r.boots(bootloader.A, "1.0.0")
		}, upgrade.ErrUnproved, attempt.NotKnown},
		"it was taken back before its trial": {func(r *rig) {
			r.upgrade(r.image("2.0.0"))
			_, err := r.rollback(upgrade.Options{})
			require.NoError(r.t, err)
		}, upgrade.ErrUnproved, "rolled back by hand"},
		"it was given up in its trial": {func(r *rig) {
			r.upgrade(r.image("2.0.0"))
			r.boots(bootloader.B, "2.0.0")
			_, err := r.rollback(upgrade.Options{})
			require.NoError(r.t, err)
			r.boots(bootloader.A, "1.0.0")
		}, upgrade.ErrUnproved, "rolled back by hand"},
		"its staging was cancelled": {func(r *rig) {
			r.stage(r.image("2.0.0"), upgrade.Options{})
			m, err := r.Open()
			require.NoError(r.t, err)
			_, err = m.Unstage(r.t.Context())
			require.NoError(r.t, err)
		}, upgrade.ErrUnproved, "cancelled by hand"},
		"it was prepared and never armed": {func(r *rig) {
			m, err := r.Open()
			require.NoError(r.t, err)
			_, err = m.Prepare(r.t.Context(), r.image("2.0.0"), upgrade.Options{})
			require.NoError(r.t, err)
		}, upgrade.ErrUnproved, "prepared"},
		"a rollback to it, forced, was taken back": {func(r *rig) {
			r.upgrade(r.image("2.0.0"))
			for _, force := range []bool{false, true, false} {
				_, err := r.rollback(upgrade.Options{Force: force})
				require.NoError(r.t, err)
			}
		}, upgrade.ErrUnproved, "rolled back by hand"},
		"what is known to be bad cannot be read": {func(r *rig) {
			r.upgrade(r.image("2.0.0"))
			r.boots(bootloader.B, "2.0.0")
			r.confirm()
			r.boots(bootloader.B, "2.0.0")
			layout, err := partition.Read(r.Disk)
			require.NoError(r.t, err)
			p, err := layout.Find("META")
			require.NoError(r.t, err)
			store, err := meta.Open(partition.Section(r.Disk, p))
			require.NoError(r.t, err)
			require.NoError(r.t, store.Set(meta.TagBadDigests, []byte("{")))
		}, nil, "the list of known-bad images cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			test.before(r)
			before := r.status()
			_, err := r.rollback(upgrade.Options{})
			require.ErrorContains(t, err, test.text)
			require.ErrorContains(t, err, "or force")
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
			}
			require.Equal(t, before, r.status(), "nothing is changed")

			a, err := r.rollback(upgrade.Options{Force: true})
			require.NoError(t, err)
			require.Equal(t, attempt.Armed, a.State)
			require.NoError(t, r.Boot())
			require.Equal(t, before.Loader.Default.Other(), r.Last.Slot)
		})
	}
}

// The power is cut when META calls a rollback armed and the loader does not: the old version finds that it fell back,
// and knows of nothing. The same rollback can be ordered again.
func TestARollbackWhoseArmingWasCutCanBeOrderedAgain(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	_, err := r.rollback(upgrade.Options{})
	require.NoError(t, err)
	require.NoError(t, r.Vars.Delete(efivar.Loader("LoaderEntryOneShot")))
	r.boots(bootloader.B, "2.0.0")
	a := r.status().Attempt
	require.Equal(t, []string{string(attempt.FellBack), attempt.NotKnown}, []string{string(a.Result), a.Reason})
	again, err := r.rollback(upgrade.Options{})
	require.NoError(t, err)
	require.Equal(t, attempt.Armed, again.State)
}

// A version that was the default once has proved itself, whatever became of a rollback to it that did not come to its
// trial.
func TestARollbackThatWasTakenBackCanBeOrderedAgain(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	for range 2 {
		a, err := r.rollback(upgrade.Options{})
		require.NoError(t, err)
		require.Equal(t, attempt.Armed, a.State)
		a, err = r.rollback(upgrade.Options{})
		require.NoError(t, err)
		require.Equal(t, attempt.Abandoned, a.Result)
	}
	_, err := r.rollback(upgrade.Options{})
	require.NoError(t, err)
	require.True(t, r.boots(bootloader.A, "1.0.0").Trial)
	r.confirm()
	_, err = r.rollback(upgrade.Options{})
	require.NoError(t, err, "the new version was the default too")
}

// GRUB's block still has word of a trial that is over, which the step "disarm" clears: what the other slot holds is
// looked at before.
func TestARollbackToADamagedSlotIsRefusedBeforeItsFirstWrite(t *testing.T) {
	for _, loader := range loaders.Names() {
		t.Run(loader, func(t *testing.T) {
			t.Parallel()
			r, file := start, bootloader.UKIFile
			if loader != loaders.SystemdBoot {
				r, file = func(t *testing.T) *rig { return startGRUB(t, loader) }, bootloader.KernelFile
			}
			refusesDamagedRollback(t, r(t), bootloader.A.File(file))
		})
	}
}

func refusesDamagedRollback(t *testing.T, r *rig, path string) {
	r.upgrade(r.version("2.0.0"))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	restore := r.part("META") // of before a trial of slot A that ended without a word
	_, err := r.rollback(upgrade.Options{})
	require.NoError(t, err)
	require.NoError(t, r.Boot())
	require.NoError(t, r.Boot())
	require.Equal(t, bootloader.B, r.Last.Slot)
	restore()
	r.flip(path)
	disk, vars := r.state()
	_, err = r.rollback(upgrade.Options{})
	require.ErrorIs(t, err, upgrade.ErrNotComplete)
	require.ErrorContains(t, err, path)
	after, varsAfter := r.state()
	require.Equal(t, disk, after, "the disk was written")
	require.Equal(t, vars, varsAfter, "a variable was written")
}
