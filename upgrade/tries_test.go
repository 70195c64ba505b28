package upgrade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// tried returns a machine in the first of so many boots of the trial of version 2.
func tried(t *testing.T, tries int) *rig {
	t.Helper()
	r := start(t)
	_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: tries})
	require.NoError(t, err)
	require.Equal(t, tries, r.status().Loader.Tries)
	require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
	return r
}

func TestEachTryIsUsedAndNoMore(t *testing.T) {
	r := tried(t, 3)
	for left := 2; left > 0; left-- {
		require.Equal(t, left, r.status().Loader.Tries)
		b := r.boots(bootloader.B, "2.0.0")
		require.True(t, b.Trial)
		require.False(t, b.Wiped, "EPHEMERAL is wiped once")
	}
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, attempt.FellBack, b.Attempt.Result)
	require.Equal(t, "the new version started 3 times, then ended without a word (it was last seen at \"started\")",
		b.Attempt.Reason)
	require.Len(t, r.status().KnownBad, 1)
	r.boots(bootloader.A, "1.0.0")
}

func TestConfirmedInTheSecondTry(t *testing.T) {
	r := tried(t, 3)
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	for range 3 {
		require.False(t, r.boots(bootloader.B, "2.0.0").Trial)
	}
	require.Empty(t, r.status().KnownBad)
}

// A check that says no ends the trial, whatever is left of it; and nothing arms it again.
func TestFailureEndsATrialWithTriesLeft(t *testing.T) {
	r := tried(t, 3)
	m, err := r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Failed(t.Context(), "check disk: no space"))
	_, err = m.Started(t.Context())
	require.NoError(t, err)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, "check disk: no space", b.Attempt.Reason)
}

func TestLateBootIsTriedAgain(t *testing.T) {
	r := tried(t, 2)
	m, err := r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Late(t.Context(), "not confirmed within 5m"))
	require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
	b := r.boots(bootloader.A, "1.0.0")
	require.Equal(t, "not confirmed within 5m", b.Attempt.Reason, "the word of the earlier try is better than none")
}

// Without META there is no count, so the trial that runs is the last.
func TestMetaDestroyedInATrialLosesTries(t *testing.T) {
	for _, when := range []string{"before the trial", "in the trial"} {
		t.Run(when, func(t *testing.T) {
			r := start(t)
			_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: 3})
			require.NoError(t, err)
			if when == "before the trial" {
				destroyMeta(t, r.Machine)
				require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
				r.boots(bootloader.A, "1.0.0")
				return
			}
			r.boots(bootloader.B, "2.0.0")
			destroyMeta(t, r.Machine)
			m, err := r.Open()
			require.NoError(t, err)
			require.Error(t, m.Failed(t.Context(), "a check that failed"), "it cannot be recorded")
			require.Equal(t, bootloader.None, r.status().Loader.Armed, "and is obeyed")
			r.boots(bootloader.A, "1.0.0")
		})
	}
}

func destroyMeta(t *testing.T, m *virtual.Machine) {
	t.Helper()
	layout, err := partition.Read(m.Disk)
	require.NoError(t, err)
	p, err := layout.Find("META")
	require.NoError(t, err)
	_, err = partition.Section(m.Disk, p).WriteAt(make([]byte, layout.Bytes(p)), 0)
	require.NoError(t, err)
}

// The firmware keeps no more variables: the trial goes on, and is the last.
func TestVariablesRefusedInATrialLoseTries(t *testing.T) {
	r := start(t)
	_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: 3})
	require.NoError(t, err)
	require.NoError(t, r.Boot())
	r.Vars.BeforeWrite = func(efivar.Name, []byte) error { return fmt.Errorf("full: %w", efivar.ErrNotKept) }
	b, err := r.Started(t.Context())
	require.NoError(t, err)
	require.True(t, b.Trial)
	r.Vars.BeforeWrite = nil
	r.boots(bootloader.A, "1.0.0")
}

// A trial started by kexec is one that the loader does not know of, and it stays the only one.
func TestKexecTrialIsNotArmedAgain(t *testing.T) {
	r := start(t)
	_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: 3, Kexec: true})
	require.NoError(t, err)
	r.Boots++
	r.Last.Slot, r.Last.Path, r.Last.Cmdline = bootloader.B, bootloader.B.File(bootloader.UKIFile), "pawl.slot=B"
	b, err := r.Started(t.Context())
	require.NoError(t, err)
	require.True(t, b.Trial)
	require.Equal(t, bootloader.None, r.status().Loader.Armed)
	r.boots(bootloader.A, "1.0.0")
}

// TestTrialCutAnywhere cuts the power at each write of the boot that begins a trial of three, and of a failure in it.
// Whatever is left, the machine boots the new version at most twice more, and then the old one.
func TestTrialCutAnywhere(t *testing.T) {
	for _, during := range []string{"started", "failed"} {
		t.Run(during, func(t *testing.T) {
			r := start(t)
			_, err := r.Upgrade(t.Context(), r.image("2.0.0"), upgrade.Options{Tries: 3})
			require.NoError(t, err)
			require.NoError(t, r.Boot())
			if during == "started" {
				r.record()
			}
			_, err = r.Started(t.Context())
			require.NoError(t, err)
			if during == "failed" {
				r.record()
				m, err := r.Open()
				require.NoError(t, err)
				require.NoError(t, m.Failed(t.Context(), "a check"))
			}
			more := map[int]int{}
			o := disktest.Options{Block: 512, Exhaustive: 4, Destroyed: 16, Samples: 2, Seed: 1}
			err = r.Disk.Trace().Crashes(o, func(c *disktest.Crash) error {
				vars, err := efivar.LoadMemory(c.Atomics())
				if err != nil {
					return err
				}
				m := &virtual.Machine{Disk: c.Device(), Vars: vars, Boots: r.Boots}
				trials, err := dies(t, m)
				more[trials]++
				if err == nil && trials > 2 {
					err = fmt.Errorf("%d more trials", trials)
				}
				if err != nil {
					return fmt.Errorf("%s: %w", c, err)
				}
				return nil
			})
			require.NoError(t, err)
			t.Log("trials after the cut:", more)
			require.NotZero(t, more[0])
			require.NotZero(t, more[2])
		})
	}
}

// dies boots a machine whose new version says that it started and then dies, until the old one runs.
func dies(t *testing.T, m *virtual.Machine) (trials int, err error) {
	for range 8 {
		if err := m.Boot(); err != nil {
			return 0, err
		}
		if m.Last.Path == "" {
			return 0, fmt.Errorf("nothing boots: %s", m.Last)
		}
		b, err := m.Started(t.Context())
		switch {
		case err != nil:
			return 0, err
		case !b.Trial && m.Last.Slot != bootloader.A:
			return 0, fmt.Errorf("slot %s runs, and nobody confirmed it", m.Last.Slot)
		case !b.Trial:
			return trials, nil
		}
		trials++
	}
	return trials, fmt.Errorf("it does not fall back")
}
