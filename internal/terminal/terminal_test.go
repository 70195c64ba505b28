package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// hostile are values that command a terminal, hide what they are, or make a line of their own.
var hostile = map[string]string{
	"clears the screen":          "\x1b[2J",
	"sets the title":             "\x1b]0;owned\a",
	"C1 in UTF-8":                "\u009b2J",
	"C1 as a byte":               "\x9b2J",
	"every C1":                   "\u0080\u0085\u0090\u009c\u009d\u009f",
	"rings and erases":           "\a\b\x7f",
	"carriage return":            "good\rbad!",
	"a line of its own":          "1.0\nnode2: confirmed",
	"vertical tab and form feed": "\v\f",
	"line separators":            "\u2028\u2029\u0085",
	"turns the writing":          "\u202e\u202d\u202a\u202b\u202c\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
	"is not seen":                "\u200b\u200c\u200d\ufeff\u00ad\u2060\U000e0041",
	"Latin-1":                    "caf\xe9",
	"UTF-8 cut short":            "\xe2\x82",
	"too long UTF-8":             "\xc0\x9b",
	"a surrogate":                "\xed\xa0\x80",
	"cells and columns":          "a\tb\xffc\xff",
	"NUL":                        "a\x00b",
}

// harmless fails if out commands a terminal, or has other line ends than those expected.
func harmless(t *testing.T, out string, lines int) {
	t.Helper()
	require.True(t, utf8.ValidString(out), "%q", out)
	require.Equal(t, lines, strings.Count(out, "\n"), "%q", out)
	for _, r := range out {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%U in %q", r, out)
	}
}

func TestValuesDoNotCommandATerminal(t *testing.T) {
	for name, value := range hostile {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			p := To(&b)
			p.Printf("%s|%v|%q|%-9s|%+v|%v\n", value, errors.New(value), value, value, struct{ S string }{value},
				[]byte(value))
			harmless(t, b.String(), 1)
			b.Reset()
			p.Error("pawl", errors.New(value))
			harmless(t, b.String(), 1)
			b.Reset()
			p.Rows("  ", [][]string{{value, "x", value}, {"y", value}})
			harmless(t, b.String(), 2)
			b.Reset()
			_, err := io.WriteString(p, value)
			require.NoError(t, err)
			harmless(t, strings.ReplaceAll(b.String(), "\t", ""), strings.Count(value, "\n"))
			b.Reset()
			p.JSON(map[string]string{"v": value}, "")
			harmless(t, b.String(), 1)
			var back map[string]string
			require.NoError(t, json.Unmarshal(b.Bytes(), &back))
			require.Equal(t, strings.ToValidUTF8(value, "\ufffd"), strings.ToValidUTF8(unrepeat(back["v"]), "\ufffd"))
			require.NoError(t, p.Err())
		})
	}
}

// unrepeat makes one of several replacement characters in a row.
func unrepeat(s string) string {
	for strings.Contains(s, "\ufffd\ufffd") {
		s = strings.ReplaceAll(s, "\ufffd\ufffd", "\ufffd")
	}
	return s
}

func TestOrdinaryTextStaysAsItIs(t *testing.T) {
	for _, text := range []string{"", "1.2.3-rc.1+b7", `C:\new "quoted"`, "naïve, Straße, 日本, ✓"} {
		require.Equal(t, text, Escape(text))
	}
	require.Equal(t, `\x1b[2J \n \u009b \u202e \xe9`, Escape("\x1b[2J \n \u009b \u202e \xe9"))
}

func TestJoinedErrorsAreLinesAndLineEndsInsideOfOneAreNot(t *testing.T) {
	var b bytes.Buffer
	one, two := errors.New("a: hook said\nnode2: fine"), fmt.Errorf("b: %w", errors.Join(io.EOF, io.ErrNoProgress))
	To(&b).Error("pawl", errors.Join(one, errors.Join(two, io.EOF)))
	require.Equal(t, "pawl: a: hook said\\nnode2: fine\n"+
		"pawl: b: EOF\\nmultiple Read calls return no data or error\npawl: EOF\n", b.String())
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAWriteThatFailsIsRemembered(t *testing.T) {
	for name, print := range map[string]func(*Printer){
		"a line": func(p *Printer) { p.Printf("x\n") }, "rows": func(p *Printer) { p.Rows("", [][]string{{"x"}}) },
		"an object": func(p *Printer) { p.JSON(1, "") }, "a help": func(p *Printer) { fmt.Fprint(p, "x") },
		"what is no JSON": func(p *Printer) { p.JSON(func() {}, "") },
	} {
		p := To(full{})
		require.NoError(t, p.Err())
		print(p)
		require.ErrorContains(t, p.Err(), "print: ", name)
	}
}
