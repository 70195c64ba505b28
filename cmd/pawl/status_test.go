package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func TestStatusShowsTheLastWordsOfAKernel(t *testing.T) {
	a := &pawlv1.Attempt{Result: "fell back", Reached: `check "net"`, Panic: "no root", Log: strings.Repeat("before\n",
		9) + "Kernel panic - not syncing: no root\n" + strings.Repeat("trace\n", 9) + "end"}
	show := func(whole bool) string {
		var out bytes.Buffer
		shown("n", &pawlv1.StatusResponse{Attempt: a}).Print(terminal.To(&out), whole)
		return out.String()
	}
	short := show(false)
	require.Contains(t, short, `reached  check "net"`)
	require.Contains(t, short, "kernel   Kernel panic - not syncing: no root\n")
	require.Equal(t, 5, strings.Count(short, "trace"))
	require.Contains(t, short, "pawl status --log")
	require.NotContains(t, short, "before")
	whole := show(true)
	require.Equal(t, []int{9, 9}, []int{strings.Count(whole, "before"), strings.Count(whole, "trace")})
	require.NotContains(t, whole, "--log")

	a.Panic, a.Log = "", "one\ntwo"
	require.Equal(t, show(true), show(false))
	a.Result, a.Log = "confirmed", ""
	require.NotContains(t, show(false), "reached")
	require.NotContains(t, show(false), "kernel")
}

func TestStatusKnowsWhoseAChecksIsByTheNodesWord(t *testing.T) {
	for name, test := range map[string]struct {
		names, own []string
		says       bool
	}{
		"one of Pawl's":                  {[]string{"pawl"}, []string{"pawl"}, true},
		"an embedder's own service":      {[]string{"pawl", "reached"}, []string{"pawl", "reached"}, true},
		"the system's is called listen":  {[]string{"pawl", "listen"}, []string{"pawl"}, false},
		"the system's beside Pawl's own": {[]string{"pawl", "web", "listen"}, []string{"pawl", "listen"}, false},
	} {
		var out strings.Builder
		shown("node1", &pawlv1.StatusResponse{Trial: true,
			Checks: &pawlv1.Checks{Names: test.names, Own: test.own}}).Print(terminal.To(&out), false)
		require.Equal(t, test.says, strings.Contains(out.String(), "only Pawl's own"), name)
	}
}

// A trial that is confirmed by nothing but Pawl's own checks is reported.
func TestStatusTellsOfATrialWithoutChecks(t *testing.T) {
	for says, names := range map[bool][][]string{
		true:  {{"pawl"}, {"pawl", "listen"}},
		false: {{"pawl", "web"}, {"pawl", "web", "listen"}, {"pawl", "listen", "web"}},
	} {
		for _, checks := range names {
			var out strings.Builder
			shown("node1", &pawlv1.StatusResponse{Active: "A", Trial: true,
				Checks: &pawlv1.Checks{Names: checks}}).Print(terminal.To(&out), false)
			require.Equal(t, says, strings.Contains(out.String(), "only Pawl's own"), "%v", checks)
		}
	}
}
