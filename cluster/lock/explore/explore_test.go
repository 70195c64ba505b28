package explore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNothingIsWrongInAnyStateOfASample(t *testing.T) {
	r := Explore(Sample())
	require.Empty(t, r.Wrong, r.Trace)
	require.Greater(t, r.States, 50_000)
}

func TestSeededFaultsAreFound(t *testing.T) {
	for _, m := range Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			r := m.Explore()
			require.NotEmpty(t, r.Wrong, r.States)
			require.NotEmpty(t, r.Trace)
		})
	}
}
