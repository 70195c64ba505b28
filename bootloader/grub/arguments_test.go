package grub

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWords(t *testing.T) {
	for cmdline, want := range map[string][]string{
		"":                              nil,
		" \t\n":                         nil,
		"console=ttyS0 quiet\n":         {"console=ttyS0", "quiet"},
		"a\tb\nc":                       {"a", "b", "c"},
		`dyndbg="file a.c +p" x`:        {"dyndbg=file a.c +p", "x"},
		`"dyndbg=file a.c +p"`:          {"dyndbg=file a.c +p"},
		`empty=""`:                      {"empty="},
		"dollar=$x`y`;z#&|<>(){}*?!~[]": {"dollar=$x`y`;z#&|<>(){}*?!~[]"},
		"ünïcode":                       {"ünïcode"},
	} {
		got, err := words(cmdline)
		require.NoError(t, err, cmdline)
		require.Equal(t, want, got, cmdline)
	}
	for reason, cmdline := range map[string]string{
		"a single quote":    "a='b'",
		"a backslash":       `a=\x`,
		"an inner quote":    `a=b"c"d`,
		"an open quote":     `a="b c`,
		"a tab inside":      "a=\"b\tc\"",
		"NUL":               "a\x00",
		"a control":         "a\x1b",
		"our slot":          "quiet pawl.slot=A",
		"our canary":        "pawl.canary=1",
		"an empty argument": `""`,
	} {
		_, err := words(cmdline)
		require.Error(t, err, reason)
	}
}

func TestScript(t *testing.T) {
	const guid = "11223344-5566-7788-99aa-bbccddeeff01"
	text, err := script("B", guid, "console=ttyS0 panic=1 it's\n")
	require.ErrorContains(t, err, "it's")
	require.Empty(t, text)
	text, err = script("B", guid, "console=ttyS0 panic=1 x=$y -- panic=0\n")
	require.NoError(t, err)
	require.Equal(t, "if linux /EFI/pawl/B/vmlinuz pawl.slot=B pawl.boot="+guid+
		" $report console=ttyS0 panic=1 'x=$y' -- panic=0; then\n  set loaded=B\nfi\n", string(text))
	text, err = script("A", guid, "quiet -- panic=5")
	require.NoError(t, err)
	require.Contains(t, string(text), guid+" panic=10 $report quiet", "what is init's is not the kernel's")
	_, err = script("A", guid, strings.Repeat("x ", 1000))
	require.ErrorContains(t, err, "shorten")
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"":                     "''",
		"plain=1,2:3/4.5_-+@%": "plain=1,2:3/4.5_-+@%",
		"it's":                 `'it'\''s'`,
		"$x `y` #z\t\n":        "'$x `y` #z\t\n'",
	} {
		require.Equal(t, want, Quote(word))
	}
}
