package upgrade_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

var byBootNext = upgrade.Options{Way: "boot-next", Tries: 2}

// META remembers how the attempt is tried, for whoever arms it later.
func TestUpgradeByBootNext(t *testing.T) {
	r := start(t)
	_, err := r.Upgrade(t.Context(), r.image("1.1.0"), byBootNext)
	require.NoError(t, err)
	for range 2 {
		require.Equal(t, "BootNext", r.status().Loader.ArmedBy)
		require.True(t, r.boots(bootloader.B, "1.1.0").Trial)
		require.Empty(t, r.Last.Entry)
	}
	require.Equal(t, attempt.FellBack, r.boots(bootloader.A, "1.0.0").Attempt.Result)

	r.stage(r.image("1.1.1"), byBootNext)
	require.True(t, r.boots(bootloader.A, "1.0.0").Staged)
	_, err = r.apply()
	require.NoError(t, err)
	require.Equal(t, "BootNext", r.status().Loader.ArmedBy)
	r.boots(bootloader.B, "1.1.1")
	require.Empty(t, r.Last.Entry)
	r.confirm()
	require.False(t, r.boots(bootloader.B, "1.1.1").Trial)
	require.Equal(t, "pawl-b.conf", r.Last.Entry)
}

func TestWaysThatCannotBeTaken(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Plan(t.Context(), r.made("1.1.0", virtual.Spec{Kernel: true}), byBootNext)
	require.ErrorIs(t, err, upgrade.ErrUnfit)
	_, err = m.Plan(t.Context(), r.image("1.1.0"), upgrade.Options{Way: "twice"})
	require.ErrorContains(t, err, `"twice"`)

	r = startGRUB(t, loaders.GRUBUEFI)
	m, err = r.Open()
	require.NoError(t, err)
	_, err = m.Plan(t.Context(), grubImage(t, r.images, "1.1.0"), byBootNext)
	require.ErrorContains(t, err, "one way only")
}

// Without any variables a kernel knows its slot from its arguments, and the loader counts its boots.
func TestUpgradeByCountingWithoutVariables(t *testing.T) {
	r := startKernels(t)
	r.Blind = true
	two := r.made("1.1.0", virtual.Spec{Kernel: true})
	_, err := r.Upgrade(t.Context(), two, upgrade.Options{})
	require.ErrorIs(t, err, bootloader.ErrNoVariables)
	require.ErrorContains(t, err, "a trial by counting needs none")

	o := upgrade.Options{Way: "counting", Tries: 3}
	m, err := r.Open()
	require.NoError(t, err)
	p, err := m.Plan(t.Context(), two, o)
	require.NoError(t, err)
	require.Contains(t, strings.Join(p.Warnings, " "), "until its power is cycled, once for each try")
	_, err = r.Upgrade(t.Context(), two, o)
	require.NoError(t, err)
	for left := 2; left >= 0; left-- {
		require.True(t, r.boots(bootloader.B, "1.1.0").Trial)
		require.Equal(t, left, r.status().Loader.Tries)
	}
	b := r.boots(bootloader.A, "1.0.0")
	require.Contains(t, b.Attempt.Reason, "the new version started 3 times")

	// A check that says no ends it early; what the loader counts in the meantime is not lost on META.
	o.Force = true
	_, err = r.Upgrade(t.Context(), two, o)
	require.NoError(t, err)
	r.boots(bootloader.B, "1.1.0")
	m, err = r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Failed(t.Context(), "a check"))
	require.Equal(t, "a check", r.boots(bootloader.A, "1.0.0").Attempt.Reason)

	_, err = r.Upgrade(t.Context(), two, o)
	require.NoError(t, err)
	r.boots(bootloader.B, "1.1.0")
	r.confirm()
	for range 3 {
		require.False(t, r.boots(bootloader.B, "1.1.0").Trial)
	}
	require.Empty(t, r.status().Loader.Armed)
}

// A UKI has its arguments inside, so without variables nobody knows which one runs.
func TestCountingCannotTellUKIsWithoutVariables(t *testing.T) {
	r := start(t)
	r.Blind, r.Last.Cmdline = true, "quiet" // which the model does not know of a UKI
	_, err := r.Upgrade(t.Context(), r.image("1.1.0"), upgrade.Options{Way: "counting"})
	require.ErrorIs(t, err, bootloader.ErrAmbiguous)
	require.ErrorContains(t, err, "a UKI has its own, which names none")
}

// A machine has its usual way, which an order may leave, and META remembers.
func TestUsualWayOfAMachine(t *testing.T) {
	r := start(t)
	m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars, Cmdline: new(string),
		BootID: "boot-1", Version: "1.0.0", Way: "boot-next"})
	require.NoError(t, err)
	_, err = m.Apply(t.Context(), r.image("1.1.0"), upgrade.Options{Tries: 2})
	require.NoError(t, err)
	for range 2 {
		require.Equal(t, "BootNext", r.status().Loader.ArmedBy)
		r.boots(bootloader.B, "1.1.0")
	}
	r.boots(bootloader.A, "1.0.0")
	_, err = m.Apply(t.Context(), r.image("1.1.1"), upgrade.Options{Way: "one-shot"})
	require.NoError(t, err)
	require.Equal(t, "LoaderEntryOneShot", r.status().Loader.ArmedBy)
	_, err = upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars, Way: "twice"})
	require.ErrorContains(t, err, `"twice"`)
}

// Firmware that cannot rename a file boots a counted entry all the same. The first trial that comes so far ends that,
// with META or without.
func TestTrialThatTheLoaderCannotCount(t *testing.T) {
	for _, meta := range []bool{true, false} {
		r := startKernels(t)
		r.Blind = true
		_, err := r.Upgrade(t.Context(), r.made("1.1.0", virtual.Spec{Kernel: true}), upgrade.Options{Way: "counting",
			Tries: 3})
		require.NoError(t, err)
		require.NoError(t, r.Boot())
		m, err := r.Open()
		require.NoError(t, err)
		entry, err := m.Boot.ReadFile("loader/entries/pawl-b+2-1.conf")
		require.NoError(t, err)
		require.NoError(t, m.Boot.Remove("loader/entries/pawl-b+2-1.conf"))
		require.NoError(t, m.Boot.WriteFile("loader/entries/pawl-b+3-0.conf", entry))
		require.True(t, r.status().Loader.Endless)
		if !meta {
			destroyMeta(t, r.Machine)
		}
		b, err := r.Started(t.Context())
		require.NoError(t, err)
		require.True(t, b.Trial)
		require.Equal(t, bootloader.None, r.status().Loader.Armed)
		require.False(t, r.status().Loader.Endless)
		r.boots(bootloader.A, "1.0.0")
	}
}
