//go:build vm

package exampleos_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/examples/os/osimage"
)

func TestWholeLifeOnSystemdBoot(t *testing.T) {
	m := install(t, "1.0.0")
	m.ready("1.0.0", "A")
	m.wholeLife("")
}

// wholeLife is the life of a machine that runs 1.0.0 from slot A. The flags are those of its first upgrade.
func (m *machine) wholeLife(flags string) {
	// A second upgrade without a restart replaces the first and leaves the running slot alone.
	m.upgrade("2.0.0")
	m.upgrade("3.0.0", flags)
	s := m.status()
	require.Equal(m, []string{"A", "A", "B"}, []string{s.Active, s.Default, s.Armed})
	require.Equal(m, []string{"1.0.0", "3.0.0"}, []string{s.Slots[0].Version, s.Slots[1].Version})
	m.foretold("boot 1: slot B, 3.0.0, trial: ", "result: fine")
	m.restart()
	m.trial("3.0.0", "B")
	m.ready("3.0.0", "B")
	s = m.status()
	require.Equal(m, []string{"confirmed", ""}, []string{s.Attempt.Result, s.Armed})

	// Rollback is an upgrade to what the other slot holds, and lasts.
	m.do("run installer rollback")
	m.foretold("boot 1: slot A, 1.0.0, trial: ", "boot 2: slot B, 3.0.0: ")
	m.restart()
	m.trial("1.0.0", "A")
	m.ready("1.0.0", "A")
	m.foretold("boot 1: slot A, 1.0.0: ", "result: fine")
	m.cut(func() {})
	m.ready("1.0.0", "A")

	// A version fails its check for a reason that lies outside of it, and is remembered as bad.
	tag := osimage.Version{Number: "2.1.0", Broken: osimage.CheckState}.Tag()
	m.do("write /dev/vda4 broken")
	m.upgrade(tag)
	m.restart()
	m.trial(tag, "B")
	m.ready("1.0.0", "A")
	s = m.status()
	require.Equal(m, "fell back", s.Attempt.Result)
	require.Contains(m, s.Attempt.Reason, "the state is broken")
	require.Len(m, s.KnownBad, 1)
	require.Equal(m, m.Digests[tag], s.KnownBad[0].Image)

	// It is refused, then forced, and proves itself: it is not bad any more.
	require.Contains(m, m.refused(m.upgradeCommand(tag)), "failed its trial before")
	m.do("write /dev/vda4 mended")
	m.upgrade(tag, "--force")
	m.restart()
	m.trial(tag, "B")
	m.ready(tag, "B")
	s = m.status()
	require.Equal(m, "confirmed", s.Attempt.Result)
	require.Empty(m, s.KnownBad)
}

// foretold requires what the machine's own doctor says of its next boots.
func (m *machine) foretold(lines ...string) {
	m.Helper()
	out := m.do("run installer doctor")
	for _, line := range lines {
		require.Contains(m, out, line)
	}
}
