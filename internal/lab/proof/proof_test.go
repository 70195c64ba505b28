package proof

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A short run: each operation from one start, few disks of each gap, a few random histories, every mutant by hand and
// the flushes of an upgrade and of a confirm. `make proof` does it all.
func TestPowerCutsShort(t *testing.T) {
	var log logger
	r, err := Run(t.Context(), t.TempDir(), Options{Short: true, Distinct: 1, Lived: 300, Workers: 2, Log: &log})
	require.NoError(t, err)
	t.Log(log.text)
	t.Log(r)
	require.NoError(t, r.Err())
	require.Greater(t, r.Images, 1000)
	require.Greater(t, r.Mutants, 15)
	require.GreaterOrEqual(t, r.Lived, 300)
}

type logger struct{ text string }

func (l *logger) Write(p []byte) (int, error) {
	l.text += string(p)
	return len(p), nil
}
