package environment

import (
	"math/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
)

// A short run; `make proof` makes 20,000.
func TestEnvironmentsShort(t *testing.T) {
	var log strings.Builder
	r, err := Run(t.Context(), t.TempDir(), Options{Seed: 1, Made: 60, Layouts: 3, Workers: 2, Log: &log})
	require.NoError(t, err)
	t.Log(log.String())
	t.Log(r)
	require.GreaterOrEqual(t, r.Made, 60)
	require.Equal(t, r.Made, r.Accepted+r.Refused)
	require.NoError(t, r.Err())
}

// Without a rehearsal promises are broken, and the judge notices.
func TestEnvironmentsWithoutRehearsal(t *testing.T) {
	r, err := Run(t.Context(), t.TempDir(), Options{Seed: 30090, Blind: 45, Layouts: 4, Workers: 2})
	require.NoError(t, err)
	require.Positive(t, r.Blind)
}

// What an environment is follows from its seed, so that an example that was found can be looked at again.
func TestAnEnvironmentFollowsFromItsSeed(t *testing.T) {
	var log [2]strings.Builder
	for i := range log {
		_, err := Run(t.Context(), t.TempDir(), Options{Seed: 1351, Made: 1, Layouts: 3, Single: true, Log: &log[i]})
		require.NoError(t, err)
	}
	require.Equal(t, log[0].String(), log[1].String())
}

// Variables of another day are those that firmware keeps: what says which slot runs is this boot's.
func TestVariablesOfAnotherDayAreNotThoseOfAnotherBoot(t *testing.T) {
	r, err := newRun(t.Context(), t.TempDir(), Options{Seed: 1, Layouts: 1})
	require.NoError(t, err)
	days, err := r.lives[loaders.SystemdBoot][0].live(t.Context(), 0)
	require.NoError(t, err)
	for seed := range int64(8) {
		d := &disturbed{machine: days[2].m.clone(), Rand: rand.New(rand.NewSource(seed)), days: days, day: 2}
		_, err = d.otherVariables()
		require.NoError(t, err)
		v, err := d.vars.Read(efivar.Loader("LoaderEntrySelected"))
		require.NoError(t, err)
		require.Equal(t, efivar.EncodeString("pawl-b.conf"), v.Data, "the trial of slot B runs")
	}
}
