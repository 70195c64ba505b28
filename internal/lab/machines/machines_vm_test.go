//go:build vm

package machines

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A sample of the matrix that `make machines` runs.
func TestMachinesLive(t *testing.T) {
	r, err := Run(t.Context(), t.TempDir(), Options{Cells: Sample()})
	require.NoError(t, err)
	require.Empty(t, r.Wrong)
	require.Equal(t, len(Sample()), r.OK)
}
