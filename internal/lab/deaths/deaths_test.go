package deaths

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/attempt"
)

func TestTheMatrixIsWhole(t *testing.T) {
	names := map[string]bool{}
	for _, c := range Cells() {
		require.False(t, names[c.String()], c)
		names[c.String()] = true
		require.NotEmpty(t, c.Death.expect(c), c)
	}
	columns := (len(Loaders) + 1) * len(Tries) // systemd-boot in two ways
	require.Len(t, names, len(deaths)*columns-len(Tries), "a BIOS has no variables to lose")
	require.Len(t, Only("grub-bios 3"), len(deaths)-1)
	require.Len(t, Only("counting 3"), len(deaths))
	require.Len(t, Only("kernel panic"), columns)
	require.Len(t, Only("kernel panic, grub-bios PID"), columns+len(Tries))
	require.Empty(t, Only("nothing of the kind"))

	var loaders []string
	for _, c := range Sample() {
		if !slices.Contains(loaders, c.Loader) {
			loaders = append(loaders, c.Loader)
		}
	}
	require.ElementsMatch(t, Loaders, loaders)
}

// A cell that ends in any other way is wrong.
func TestACellIsJudgedByAllThatIsKnown(t *testing.T) {
	digests := map[string]string{"1.0.0": "one", "2.0.0": "two"}
	c := Only("systemd-boot 1 kernel panic")[0]
	good := seen{
		ending: ending{
			slot: "A", result: "fell back",
			reason: "the new version started, then its kernel panicked: sysrq triggered crash (it was last seen at " +
				"\"wiped\")", bad: true,
			log: "x\nKernel panic - not syncing: sysrq triggered crash\ny", trials: 1,
		},
		version: "1.0.0", digest: "one",
	}
	require.NoError(t, c.judge(good, digests))
	require.Contains(t, good.String(), "known bad; 53 bytes of its log")
	for name, spoil := range map[string]func(*seen){
		"slot":    func(s *seen) { s.slot, s.version, s.digest = "B", "2.0.0", "two" },
		"version": func(s *seen) { s.version = "2.0.0" },
		"digest":  func(s *seen) { s.digest = "two" },
		"result":  func(s *seen) { s.result = "abandoned" },
		"reason":  func(s *seen) { s.reason = attempt.NotKnown },
		"bad":     func(s *seen) { s.bad = false },
		"log":     func(s *seen) { s.log = "" },
		"trials":  func(s *seen) { s.trials = 2 },
		"cycles":  func(s *seen) { s.cycles = 1 },
	} {
		s := good
		spoil(&s)
		require.Error(t, c.judge(s, digests), name)
	}
	hang := Only("systemd-boot 1 hang after")[0]
	good.reason = "the new version started, then ended without a word (...)"
	require.ErrorContains(t, hang.judge(good, digests), "kernel log", "nothing is kept of a hang")

	confirm := Only("systemd-boot 1 during confirm")[0]
	for _, s := range []seen{
		{ending{slot: "B", result: "confirmed"}, "2.0.0", "two"},
		{ending{slot: "A", result: "fell back", reason: good.reason, bad: true, trials: 1}, "1.0.0", "one"},
	} {
		require.NoError(t, confirm.judge(s, digests))
		s.result = strings.ToUpper(s.result)
		require.ErrorContains(t, confirm.judge(s, digests), ", or ")
	}
}
