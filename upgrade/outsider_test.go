package upgrade_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnOutsidersProgram runs a program of 40 lines in a module of its own, which can import what anybody can.
func TestAnOutsidersProgram(t *testing.T) {
	source, err := os.ReadFile("testdata/outsider/main.go")
	require.NoError(t, err)
	require.LessOrEqual(t, bytes.Count(source, []byte("\n")), 40)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	dir := t.TempDir()
	module := fmt.Sprintf("module example.com/outsider\n\ngo 1.26\n\nrequire github.com/pawl-os/pawl "+
		"v0.0.0\n\nreplace github.com/pawl-os/pawl => %s\n", root)
	for name, data := range map[string][]byte{"main.go": source, "go.mod": []byte(module), "go.sum": sums} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	r := start(t)
	two := r.image("2.0.0")
	c := exec.Command("go", "run", ".", filepath.Join(dir, "disk.raw"), r.one.Reference, two.Reference)
	c.Dir, c.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod -trimpath", "GOPROXY=off", "GOWORK=off")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): confirmed\n")
}
