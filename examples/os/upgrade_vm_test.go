//go:build vm

package exampleos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/examples/os/osimage"
)

// broken says what is known afterwards of each version that fails, and whether its image is remembered as bad: only with
// evidence that it ran.
var broken = map[osimage.Broken]struct {
	reason string
	bad    bool
}{
	osimage.CorruptUKI: {"not known to have started", false},
	osimage.ShortUKI:   {"not known to have started", false},
	osimage.Exits:      {"not known to have started", false},
	osimage.Panics:     {"ended without a word", true},
	osimage.CheckFails: {"self-check failed, as this version was built to", true},
	osimage.CheckHangs: {`check "self" has not answered`, true},
}

func TestBrokenVersionsFallBack(t *testing.T) {
	require.Len(t, broken, len(osimage.AllBroken))
	for how, want := range broken {
		t.Run(string(how), func(t *testing.T) {
			tag := osimage.Version{Number: "2.1.0", Broken: how}.Tag()
			m := install(t, "1.0.0")
			m.ready("1.0.0", "A")
			m.upgrade(tag, "--force")
			m.restart()
			switch how {
			case osimage.Panics, osimage.CheckFails:
				m.trial(tag, "B")
			case osimage.CheckHangs:
				m.trial(tag, "B")
				require.Contains(t, m.refused(m.upgradeCommand("2.0.0")), "the running version is on trial")
			}
			m.ready("1.0.0", "A")
			s := m.status()
			require.Equal(t, "fell back", s.Attempt.Result)
			require.Contains(t, s.Attempt.Reason, want.reason)
			require.Equal(t, want.bad, len(s.KnownBad) == 1)
			if want.bad {
				require.Contains(t, m.refused(m.upgradeCommand(tag)), "failed its trial before")
			}
		})
	}
}
