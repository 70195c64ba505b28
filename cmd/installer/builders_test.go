package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The installer for nodes leaves out what only a build machine needs, says so by name, and is small by that. How small
// it is, each release checks.
func TestTheInstallerForNodes(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "installer")
	said, err := exec.Command("go", "build", "-tags", "node", "-ldflags", "-s -w", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", said)
	run := func(args ...string) (int, string) {
		c := exec.Command(program, args...)
		said, _ := c.CombinedOutput()
		return c.ProcessState.ExitCode(), string(said)
	}
	for _, left := range [][]string{{"pack"}, {"pack", "base", "--output", "x"}, {"image", "--help"}} {
		code, said := run(left...)
		require.Equal(t, exitUsage, code, said)
		require.Contains(t, said, "installer "+left[0]+" is left out of this program, which is the one for nodes")
	}
	_, said2 := run("--help")
	for _, verb := range []string{"install", "setup", "plan", "upgrade", "rollback", "confirm", "loader", "status", "doctor",
		"meta", "disk", "adopt"} {
		require.Regexp(t, `(?m)^  `+verb+` `, said2)
	}
	require.NotRegexp(t, `(?m)^  (pack|image) `, said2)
}
