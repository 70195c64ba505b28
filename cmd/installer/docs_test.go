package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/docs"
)

// Each command and each flag that the documents show is one.
func TestDocumentsShowWhatThereIs(t *testing.T) {
	t.Parallel()
	documents, err := docs.Read("../../docs")
	require.NoError(t, err)
	commands := 0
	for path, text := range documents {
		asked, err := docs.Of("installer", text)
		require.NoError(t, err, path)
		for _, args := range asked {
			code, said := run(t, append(args, "--help")...)
			require.Zero(t, code, "%s: installer %s: %s", path, strings.Join(args, " "), said)
			commands++
		}
	}
	require.Greater(t, commands, 20)
}
