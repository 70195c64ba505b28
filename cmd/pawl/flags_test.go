package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is wrong with a command line is found before any node is asked.
func TestWrongFlagsNameThemselvesAndTheNearestRightValue(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no time": {[]string{"status", "--timeout", "0"}, "--timeout 0s: want 1ms to "},
		"less than no time": {[]string{"reboot", "--timeout=-3s"},
			"--timeout -3s: want 1ms to 876000h0m0s; the nearest is 1ms"},
		"a time that is none": {[]string{"status", "--timeout", "NaN"},
			`invalid argument "NaN" for "--timeout"`},
		"a time without a unit": {[]string{"status", "--timeout", "5"}, "missing unit in duration"},
		"a time beyond all": {[]string{"status", "--timeout", "99999999h"},
			`invalid argument "99999999h" for "--timeout"`},
		"no tries": {[]string{"upgrade", "--image", "x", "--tries", "0"},
			"--tries 0: want 1 to 9; the nearest is 1"},
		"too many tries": {[]string{"upgrade", "--image", "x", "--tries", "4000000000"},
			"--tries 4000000000: want 1 to 9; the nearest is 9"},
		"fewer tries than none": {[]string{"upgrade", "--image", "x", "--tries", "-1"},
			`invalid argument "-1" for "--tries"`},
		"a way to try that is none": {[]string{"upgrade", "--image", "x", "--trial", "oneshot"},
			"did you mean one-shot?"},
		"the same in a plan": {[]string{"plan", "--image", "x", "--trial", "bootnext"},
			"did you mean boot-next?"},
		"a mode that is none": {[]string{"reboot", "--reboot-mode", "power-cycle"},
			"did you mean powercycle?"},
		"a mode without a restart": {[]string{"upgrade", "--image", "x", "--reboot=false", "--reboot-mode",
			"kexec"}, "there is to be no restart"},
		"a mode for what is staged": {[]string{"upgrade", "--image", "x", "--stage", "--reboot-mode", "kexec"},
			"there is to be no restart"},
		"a mode to go back without": {[]string{"rollback", "--reboot=false", "--reboot-mode", "kexec"},
			"there is to be no restart"},
		"a word for yes": {[]string{"upgrade", "--image", "x", "--wait=perhaps"},
			`invalid argument "perhaps" for "--wait"`},
		"an image that is empty":       {[]string{"upgrade", "--image", ""}, "--image is empty"},
		"an output that is empty":      {[]string{"status", "--output", ""}, "--output is empty"},
		"an output in capitals":        {[]string{"status", "--output", "JSON"}, "did you mean json?"},
		"a command that is not helped": {[]string{"help", "upgarde"}, `there is no command "upgarde"`},
		"a stage of another kind":      {[]string{"stage", "cancle"}, "want `pawl stage cancel`"},
		"no node between two commas":   {[]string{"status", "--nodes", "a,,b"}, `node "" is no address`},
		"a port that is none":          {[]string{"status", "--nodes", "a:b:c"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := pawl(t, []string{nobody}, c.args...)
			if c.says == "" {
				require.NotZero(t, code)
				return
			}
			require.Equal(t, exitUsage, code, errs)
			require.Contains(t, errs, c.says)
			require.Empty(t, out)
		})
	}
	code, out, _ := pawl(t, []string{nobody}, "help", "stage", "cancel")
	require.Zero(t, code)
	require.Contains(t, out, "Give up the staged upgrade")
	code, out, _ = pawl(t, []string{nobody}, "--version")
	require.Zero(t, code)
	require.Regexp(t, `^pawl \S+, commit .*, date \S+, go\S+ \w+/\w+\n$`, out)
	code, out, _ = pawl(t, []string{nobody}, "version", "--client", "-o", "json")
	require.Zero(t, code)
	require.Contains(t, out, `{"client":{"api":1,"pawl":`)
}
