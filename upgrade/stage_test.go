package upgrade_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/report"
)

func (r *rig) stage(img *image.Image, o upgrade.Options) attempt.Attempt {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	a, err := m.Stage(r.t.Context(), img, o)
	require.NoError(r.t, err)
	require.Equal(r.t, "staged", a.Staging())
	return a
}

func (r *rig) apply() (attempt.Attempt, error) {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	return m.ApplyStaged(r.t.Context(), upgrade.Options{})
}

func TestStagedUpgradeIsAppliedByTheNextBoot(t *testing.T) {
	r := start(t)
	r.stage(r.image("2.0.0"), upgrade.Options{Preserve: true, Tries: 1})
	require.Equal(t, report.Complete, r.status().Slots[1].Content)
	require.Equal(t, bootloader.None, r.status().Loader.Armed, "nothing is armed yet")
	started, err := r.Started(t.Context())
	require.NoError(t, err)
	require.False(t, started.Staged, "not in the boot that staged it")

	b := r.boots(bootloader.A, "1.0.0")
	require.True(t, b.Staged)
	a, err := r.apply()
	require.NoError(t, err)
	require.Equal(t, "applying 1", a.Staging())
	_, err = r.apply()
	require.ErrorIs(t, err, upgrade.ErrNotStaged, "once")

	b = r.boots(bootloader.B, "2.0.0")
	require.True(t, b.Trial)
	require.False(t, b.Wiped, "preserve is remembered")
	r.confirm()
	require.Equal(t, "done", r.status().Attempt.Staging())
	require.False(t, r.boots(bootloader.B, "2.0.0").Staged)
}

func TestStagedUpgradeFailsForGood(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, r *rig)
		why   string
	}{
		"the target was destroyed meanwhile": {func(t *testing.T, r *rig) {
			m, err := r.Open()
			require.NoError(t, err)
			require.NoError(t, m.Boot.Remove(bootloader.B.File(bootloader.UKIFile)))
		}, "slot B is partial"},
		"the variables cannot be written": {func(_ *testing.T, r *rig) { r.Vars.BeforeWrite = noVariables }, "says no"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.stage(r.image("2.0.0"), upgrade.Options{})
			r.boots(bootloader.A, "1.0.0")
			test.spoil(t, r)
			_, err := r.apply()
			require.ErrorContains(t, err, test.why)
			r.Vars.BeforeWrite = nil
			a := r.status().Attempt
			require.Equal(t, attempt.Abandoned, a.Result)
			require.Contains(t, a.Staging(), "failed: ")
			require.False(t, r.boots(bootloader.A, "1.0.0").Staged, "no boot comes back to it")
		})
	}
}

func TestStagedUpgradeThatIsCutShortIsGivenUp(t *testing.T) {
	r := start(t)
	r.stage(r.image("2.0.0"), upgrade.Options{})
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		require.True(t, r.boots(bootloader.A, "1.0.0").Staged)
		m, err := r.Open()
		require.NoError(t, err)
		_, err = m.ApplyStaged(cut, upgrade.Options{})
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Equal(t, "applying 3", r.status().Attempt.Staging())
	require.True(t, r.boots(bootloader.A, "1.0.0").Staged)
	_, err := r.apply()
	require.ErrorContains(t, err, "3 boots began to apply it")
	require.False(t, r.boots(bootloader.A, "1.0.0").Staged)
}

func TestStagedUpgradeIsCancelled(t *testing.T) {
	for name, cancel := range map[string]func(*upgrade.Machine) (attempt.Attempt, error){
		"by cancel": func(m *upgrade.Machine) (attempt.Attempt, error) { return m.Unstage(t.Context()) },
		"by rollback": func(m *upgrade.Machine) (attempt.Attempt, error) {
			return m.Rollback(t.Context(),
				upgrade.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.stage(r.image("2.0.0"), upgrade.Options{})
			m, err := r.Open()
			require.NoError(t, err)
			a, err := cancel(m)
			require.NoError(t, err)
			require.Equal(t, attempt.Abandoned, a.Result)
			_, err = m.Unstage(t.Context())
			require.ErrorIs(t, err, upgrade.ErrNotStaged)
			require.False(t, r.boots(bootloader.A, "1.0.0").Staged)
		})
	}
}

func TestStagedUpgradeIsReplacedByAnother(t *testing.T) {
	r := start(t)
	r.stage(r.image("2.0.0"), upgrade.Options{})
	r.upgrade(r.image("2.1.0"))
	require.False(t, r.boots(bootloader.B, "2.1.0").Staged)
	r.confirm()
}

func TestMarksStayWithTheAttempt(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	require.Error(t, m.Mark(nil), "there is no attempt")
	r.upgrade(r.image("2.0.0"))
	m, err = r.Open()
	require.NoError(t, err)
	marks := []attempt.Mark{{Phase: "cordon", Boot: "x", Ours: true}}
	require.NoError(t, m.Mark(marks))
	r.boots(bootloader.B, "2.0.0")
	r.confirm()
	require.Equal(t, marks, r.status().Attempt.Marks)
	r.upgrade(r.image("2.1.0"))
	require.Equal(t, marks, r.status().Attempt.Marks, "the next attempt takes over what is not undone")
}

var errNoVariables = errors.New("the firmware says no")

// The service may be started anew between the arming and the jump into the new kernel.
func TestStartedAgainAfterAStagedUpgradeIsArmedForKexec(t *testing.T) {
	r := start(t)
	r.stage(r.image("2.0.0"), upgrade.Options{})
	require.True(t, r.boots(bootloader.A, "1.0.0").Staged)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.ApplyStaged(t.Context(), upgrade.Options{Kexec: true})
	require.NoError(t, err)
	_, err = r.Started(t.Context())
	require.NoError(t, err)
	require.Equal(t, attempt.Armed, r.status().Attempt.State, "it was not tried yet")
	require.Equal(t, attempt.FellBack, r.boots(bootloader.A, "1.0.0").Attempt.Result, "and came back without it")
}
