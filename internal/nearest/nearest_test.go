package nearest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/nearest"
)

func TestHint(t *testing.T) {
	labels := []string{"EFI", "META", "STATE", "EPHEMERAL"}
	for word, want := range map[string]string{
		"EPHEMERL": " (did you mean EPHEMERAL?)", "ephemeral": " (did you mean EPHEMERAL?)",
		"STAET": " (did you mean STATE?)",
		"META ": " (did you mean META?)", "": "", "x": "", "something else": "",
	} {
		require.Equal(t, want, nearest.Hint(word, labels), word)
	}
}
