package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/docs"
)

// Each command and each flag that the documents show is one.
func TestDocumentsShowWhatThereIs(t *testing.T) {
	documents, err := docs.Read("../../docs")
	require.NoError(t, err)
	commands := 0
	for path, text := range documents {
		asked, err := docs.Of("pawl", text)
		require.NoError(t, err, path)
		for _, args := range asked {
			var out, errs bytes.Buffer
			require.Zero(t, run(t.Context(), append(args, "--help"), &out, &errs), "%s: pawl %s: %s", path,
				strings.Join(args, " "), errs.String())
			commands++
		}
	}
	require.Greater(t, commands, 20)
}
