package progress

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPaceFollowsTheLastSeconds(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p Pace
	at := func(ms int, bytes int64) Amount {
		return p.Amount(start.Add(time.Duration(ms)*time.Millisecond), bytes, 100_000)
	}
	require.Equal(t, Amount{Bytes: 0, Total: 100_000}, at(0, 0), "nothing is known yet")
	require.Zero(t, at(100, 500).Rate, "nor after a moment")
	require.Equal(t, Amount{Bytes: 2000, Total: 100_000, Rate: 1000, Left: 98 * time.Second}, at(2000, 2000))
	for s := 3; s <= 10; s++ { // it slows down to a tenth
		at(s*1000, 2000+int64(s-2)*100)
	}
	require.EqualValues(t, 100, at(11_000, 2900).Rate, "what was long ago does not count")
	a := at(20_000, 2900)
	require.Zero(t, a.Rate, "nothing comes")
	require.Zero(t, a.Left)
	require.Zero(t, at(20_100, 10).Rate, "another file")
	require.EqualValues(t, 0, at(21_000, 100_000).Left, "all is there")
	var lots Pace
	for i := range 10_000 {
		lots.Amount(start.Add(time.Duration(i)*10*time.Millisecond), int64(i), 0)
	}
	require.Less(t, len(lots.marks), 30)
}
