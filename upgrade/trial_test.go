package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/virtual"
	"github.com/pawl-os/pawl/upgrade"
)

var byBootNext = upgrade.Options{Trial: "boot-next", Tries: 2}

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
	require.Equal(t, upgrade.FellBack, r.boots(bootloader.A, "1.0.0").Attempt.Result)

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
	_, err = m.Plan(t.Context(), r.image("1.1.0"), upgrade.Options{Trial: "twice"})
	require.ErrorContains(t, err, `"twice"`)
	require.Error(t, upgrade.CheckTrial("twice"))

	r = startGRUB(t, upgrade.GRUBUEFI)
	m, err = r.Open()
	require.NoError(t, err)
	_, err = m.Plan(t.Context(), grubImage(t, r.images, "1.1.0"), byBootNext)
	require.ErrorContains(t, err, "one way only")
}
