//go:build vm

package deaths

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A sample of the matrix that `make boots` runs: each death that no other test boots, once.
func TestMachinesThatDieEndWhereTheyShould(t *testing.T) {
	var log logger
	r, err := Run(t.Context(), t.TempDir(), Options{Cells: Sample(), Workers: 2, Log: &log})
	t.Log(log.text)
	require.NoError(t, err)
	require.Empty(t, r.Wrong)
	require.Equal(t, len(Sample()), r.OK)
}

type logger struct{ text string }

func (l *logger) Write(b []byte) (int, error) { l.text += string(b); return len(b), nil }
