package terminal_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/pawl-os/pawl/internal/terminal"
)

// Whatever a value holds, a reader of YAML gets it, and a terminal is told nothing.
func TestYAMLIsTheValueAndNothingForATerminal(t *testing.T) {
	values := map[string]any{"": "", "yes": "yes", "number": "12", "null": "null", "date": "2026-01-01", "log": "a\nb\n c\n",
		"escape": "\x1b[2J\x07", "right to left": "a\u202eb", "tag": "\U000e0001", "quote": `'"\`, "colon": "a: b #c",
		"log with an escape": "a\n\x1bb", "list": []any{"x", "- y"}, "map": map[string]any{"k\x1b": true}, "star": "*a",
		"emoji": "\U0001f600", "long": strings.Repeat("word ", 100), "none": nil, "empty": []any{}, "tab": "a\tb"}
	var b strings.Builder
	p := terminal.To(&b)
	p.YAML(values)
	p.YAML("another document")
	require.NoError(t, p.Err())
	for line := range strings.Lines(b.String()) {
		text := strings.TrimSuffix(line, "\n")
		require.Equal(t, text, terminal.Escape(text))
	}
	d := yaml.NewDecoder(strings.NewReader(b.String()))
	var got map[string]any
	require.NoError(t, d.Decode(&got))
	require.Equal(t, values, got)
	var text string
	require.NoError(t, d.Decode(&text))
	require.Equal(t, "another document", text)
	require.Contains(t, b.String(), "log: |\n  a\n  b\n") // as a person reads it
}
