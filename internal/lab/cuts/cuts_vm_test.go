//go:build vm

package cuts_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/lab/cuts"
)

// TestSampleOfCuts cuts three phases: one that is undone, one after which a staged upgrade goes on by itself, and one
// of a trial. All of them: `make boots`.
func TestSampleOfCuts(t *testing.T) {
	sample := []cuts.Cut{
		{Order: cuts.Upgrade, At: "upgrade/stop"}, {Order: cuts.Staged, At: "apply:arm"},
		{Order: cuts.Upgrade, At: "trial/checks"},
	}
	table := slices.DeleteFunc(cuts.Table(), func(c cuts.Cut) bool {
		return !slices.ContainsFunc(sample, func(s cuts.Cut) bool { return s.Order == c.Order && s.At == c.At })
	})
	require.Len(t, table, len(sample))
	r, err := cuts.Run(t.Context(), cuts.Options{Loader: loaders.SystemdBoot, Cuts: table, Within: 6 * time.Minute,
		Log: t.Output()})
	require.NoError(t, err)
	require.Empty(t, r.Wrong)
	require.Equal(t, len(sample), r.OK)
}
