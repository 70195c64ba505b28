package pawld

import (
	"bytes"
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrongFlagsNameThemselvesAndTheNearestRightValue(t *testing.T) {
	for line, says := range map[string]string{
		"--trial-deadline 0": "flag -trial-deadline: --trial-deadline 0s: want 1s to 168h0m0s; the nearest " +
			"is 1s",
		"--trial-deadline -5m":                        "the nearest is 1s",
		"--trial-deadline NaN":                        "flag -trial-deadline: ",
		"--trial-deadline 900000h":                    "the nearest is 168h0m0s",
		"--trial-deadline 99999999h":                  "flag -trial-deadline: ",
		"--trial-deadline 5":                          "missing unit",
		"--window -1s":                                "--window -1s: want 0s to 168h0m0s; the nearest is 0s",
		"--hook-deadline 0":                           "--hook-deadline 0s: want 1ms to ",
		"--let-go -1ns":                               "--let-go -1ns: want 1ms to ",
		"--watchdog-timeout 10ms":                     "--watchdog-timeout 10ms: want 1s to 1h0m0s; the nearest is 1s",
		"--watchdog of":                               "did you mean off?",
		"--stuck rebot":                               "did you mean reboot?",
		"--trial boot_next":                           "did you mean boot-next?",
		"--unmount=":                                  "flag -unmount: it is empty",
		"--unmount EPHEMERAL,,STATE":                  "want labels separated by commas",
		"--hooks=":                                    "flag -hooks: it is empty",
		"--insecure=perhaps":                          "-insecure",
		"--disk=":                                     "want --disk DEVICE",
		"--tcp-role amdin":                            "did you mean admin?",
		"--tls-cert c --tls-key k":                    "TLS needs a certificate, its key, and the authorities",
		"--socket-role reader":                        "go together",
		"--socket-group no.such --socket-role reader": "group of the socket",
	} {
		t.Run(line, func(t *testing.T) {
			var out bytes.Buffer
			err := daemon{}.run(t.Context(), strings.Fields("--disk /nowhere "+line), &out)
			require.ErrorIs(t, err, errUsage)
			require.Contains(t, out.String(), says)
		})
	}
}

// The numbers are those that package api holds callers to; its tests have that.
func TestHelpSaysWhatTheServiceTakes(t *testing.T) {
	var out bytes.Buffer
	require.ErrorIs(t, daemon{}.run(t.Context(), []string{"--help"}, &out), flag.ErrHelp)
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, limit := range []string{"512 connections over TCP and 64 over Unix sockets", "each with 16 calls at once;",
		"of each kind (followers of events, plans, doctor, reflection, all others) 64 calls at once", "64 KiB a request",
		"4 MiB a message of an answer", "1024 bytes a reference"} {
		require.Contains(t, said, limit)
	}
}
