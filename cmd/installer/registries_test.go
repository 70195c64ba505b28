package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAMirrorIsAskedFirst: a machine whose registry is away upgrades from the mirror that its file names, and without
// one is told why.
func TestAMirrorIsAskedFirst(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	mirror, away := f.registry(), closedPort(t)
	ref := strings.Replace(f.push(mirror, "2.0.0"), mirror.Host(), away, 1)
	file := filepath.Join(t.TempDir(), "registries.json")
	b := f.box(t)
	args := []string{"--image", ref, "--attempts", "1", "--registries", file}

	status, out := b.on("upgrade", args...)
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "--registries: ")
	require.Contains(t, out, file)
	require.NoError(t, os.WriteFile(file, []byte(`{}`), 0o600))
	status, out = b.on("upgrade", args...)
	require.Equal(t, exitImage, status, out)
	require.Contains(t, out, away)
	require.NoError(t, os.WriteFile(file, []byte(`{"mirrors":{"`+away+`":["`+closedPort(t)+`","`+mirror.Host()+`"]}}`),
		0o600))
	status, out = b.on("upgrade", args...)
	require.Zero(t, status, out)
	require.True(t, b.boot().Trial)
}
