package upgrade_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/report"
	"github.com/pawl-os/pawl/upgrade/versions"
)

func TestDowngradeIsRefusedUnlessForced(t *testing.T) {
	r := start(t)
	old, err := r.images.Image("0.9.0", virtual.Spec{})
	require.NoError(t, err)
	_, err = r.Upgrade(t.Context(), old, upgrade.Options{})
	require.ErrorIs(t, err, versions.ErrPolicy)
	require.Equal(t, report.Empty, r.status().Slots[1].Content, "nothing was written")
	_, err = r.Upgrade(t.Context(), old, upgrade.Options{Force: true})
	require.NoError(t, err)
}

func TestAVersionThatThePolicyCannotCompareIsSaid(t *testing.T) {
	r := start(t)
	for _, version := range []string{"tuesday", "2026.1.2.3"} {
		img, err := r.images.Image(version, virtual.Spec{})
		require.NoError(t, err)
		m, err := r.Open()
		require.NoError(t, err)
		p, err := m.Plan(t.Context(), img, upgrade.Options{})
		require.NoError(t, err)
		require.Contains(t, p.Warnings, `The version policy did not judge this move: the image's, "`+version+
			`", cannot be compared, as 1.2.0 can.`)
	}
}
