package commandline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAWrongWordNamesItsFlagAndTheNearest(t *testing.T) {
	require.NoError(t, Word("trial", "counting", "one-shot", "boot-next", "counting"))
	require.EqualError(t, Word("trial", "boot-nxt", "one-shot", "boot-next", "counting"),
		`--trial "boot-nxt": want one-shot, boot-next or counting (did you mean boot-next?)`)
	require.EqualError(t, Word("output", "yaml", "text", "json"), `--output "yaml": want text or json`)
	require.EqualError(t, Word("output", "JSON", "text", "json"),
		`--output "JSON": want text or json (did you mean json?)`)
}

func TestWhatIsOutOfRangeNamesItsFlagAndTheNearest(t *testing.T) {
	require.NoError(t, Within("tries", 9, 1, 9))
	require.EqualError(t, Within("tries", 12, 1, 9), "--tries 12: want 1 to 9; the nearest is 9")
	require.EqualError(t, Within("timeout", -time.Second, time.Millisecond, time.Hour),
		"--timeout -1s: want 1ms to 1h0m0s; the nearest is 1ms")
}
