package cmdline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/cmdline"
)

func TestWordsAreCutWhereLinuxCutsThem(t *testing.T) {
	for line, want := range map[string][]cmdline.Arg{
		"":            nil,
		" \t\n\v\f\r": nil,
		"quiet\n":     {{Raw: "quiet", Name: "quiet"}},
		"a=b  c\td":   {{Raw: "a=b", Name: "a", Value: "b", Set: true}, {Raw: "c", Name: "c"}, {Raw: "d", Name: "d"}},
		"a=b=c":       {{Raw: "a=b=c", Name: "a", Value: "b=c", Set: true}},
		"a=":          {{Raw: "a=", Name: "a", Set: true}},
		`a=""`:        {{Raw: `a=""`, Name: "a", Set: true}},
		`""`:          {{Raw: `""`}},
		`a="b  c" d`:  {{Raw: `a="b  c"`, Name: "a", Value: "b  c", Set: true}, {Raw: "d", Name: "d"}},
		`"a=b  c" d`:  {{Raw: `"a=b  c"`, Name: "a", Value: "b  c", Set: true}, {Raw: "d", Name: "d"}},
		`a="b c`:      {{Raw: `a="b c`, Name: "a", Value: "b c", Set: true}},
		`a=b"c d"e`:   {{Raw: `a=b"c d"e`, Name: "a", Value: `b"c d"e`, Set: true}},
		`a="b"c`:      {{Raw: `a="b"c`, Name: "a", Value: `b"c`, Set: true}},
		"=a":          {{Raw: "=a", Name: "=a"}},
		"=a=b":        {{Raw: "=a=b", Name: "=a", Value: "b", Set: true}},
		"a\x00b":      {{Raw: "a", Name: "a"}},
		"a\u2003b":    {{Raw: "a\u2003b", Name: "a\u2003b"}},
		"\u00e0":      {{Raw: "\xc3", Name: "\xc3"}},
		`it's \x`:     {{Raw: "it's", Name: "it's"}, {Raw: `\x`, Name: `\x`}},
		"-- a":        {{Raw: "--", Name: "--"}, {Raw: "a", Name: "a"}},
	} {
		require.Equal(t, want, cmdline.Split(line), "%q", line)
	}
}

func TestWhatIsBehindTwoHyphensIsForInit(t *testing.T) {
	for line, want := range map[string]string{
		"a b -- c":    "a b",
		`a "--" b`:    "a",
		"a --x b":     "a --x b",
		"a --=1 b":    "a --=1 b",
		`a="-- b" c`:  "a=-- b c",
		"-- panic=10": "",
	} {
		var words []string
		for _, a := range cmdline.Kernel(line) {
			words = append(words, a.String())
		}
		require.Equal(t, want, strings.Join(words, " "), "%q", line)
	}
}

func TestPanic(t *testing.T) {
	for line, want := range map[string]struct {
		seconds int
		said    bool
	}{
		"quiet":                      {0, false},
		"quiet -- panic=10":          {0, false},
		"panic=10 -- panic=0":        {10, true},
		"panic=10 panic=0":           {0, true},
		"panic=0 panic=10":           {10, true},
		"panic=-1":                   {-1, true},
		"panic=0x10":                 {16, true},
		"panic=010":                  {8, true},
		`"panic=5"`:                  {5, true},
		`panic="5"`:                  {5, true},
		"panic=":                     {0, false},
		"panic":                      {0, false},
		"panic=ten":                  {0, false},
		"panic=10 panic=ten":         {10, true},
		"panic=1_0":                  {0, false},
		"panic=0b1":                  {0, false},
		"panic=99999999999":          {0, false},
		`x="a panic=7"`:              {0, false},
		"panic_on_warn=1":            {0, false},
		"panic=3\u2003":              {0, false},
		"dyndbg=\"panic=0\" panic=2": {2, true},
	} {
		seconds, said := cmdline.Panic(line)
		require.Equal(t, want.seconds, seconds, "%q", line)
		require.Equal(t, want.said, said, "%q", line)
	}
}

func TestOneValueOnly(t *testing.T) {
	value, set, err := cmdline.One(`x pawl.slot=B "pawl.slot=b" -- pawl.slot=A`, "pawl.slot")
	require.NoError(t, err)
	require.True(t, set)
	require.Equal(t, "b", value)
	_, set, err = cmdline.One("xpawl.slot=B", "pawl.slot")
	require.NoError(t, err)
	require.False(t, set)
	_, _, err = cmdline.One("pawl.slot=A pawl.slot=B", "pawl.slot")
	require.ErrorContains(t, err, "pawl.slot=A and pawl.slot=B")
}

func Example() {
	for _, a := range cmdline.Kernel(`quiet dyndbg="file a.c +p" panic=10 -- single`) {
		fmt.Println(a)
	}
	fmt.Println(cmdline.Panic("panic=10 -- panic=0"))
	// Output:
	// quiet
	// dyndbg=file a.c +p
	// panic=10
	// 10 true
}

// FuzzSplit holds Split against a line-by-line rendering of the kernel's own loop.
func FuzzSplit(f *testing.F) {
	for _, line := range []string{"", `a="b c" d`, `"a=b c"d -- e`, "=a=b", `x"y z`, "a\x00b", "\xc3\xa0", `"`, `=""`,
		`a=" "`} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := cmdline.Split(line)
		rest := append([]byte(line), 0)
		for _, a := range got {
			name, value, set, next := nextArg(skip(rest))
			require.Equal(t, [3]any{name, value, set}, [3]any{a.Name, a.Value, a.Set}, "%q", line)
			rest = next
		}
		require.Zero(t, skip(rest)[0], "%q: words are left", line)
		var raw []string
		for _, a := range got {
			raw = append(raw, a.Raw)
		}
		// Joined again they are the same words; an open quote takes in what follows, so only the last can have one.
		require.Equal(t, got, cmdline.Split(strings.Join(raw, " ")), "%q", line)
	})
}

func skip(b []byte) []byte {
	for cmdline.IsSpace(b[0]) {
		b = b[1:]
	}
	return b
}

// nextArg walks bytes that end with a NUL, with an index and flags.
func nextArg(b []byte) (name, value string, set bool, next []byte) {
	inQuote, quoted, equals, i := false, false, 0, 0
	if b[0] == '"' {
		b, inQuote, quoted = b[1:], true, true
	}
	for ; b[i] != 0; i++ {
		if cmdline.IsSpace(b[i]) && !inQuote {
			break
		}
		if equals == 0 && b[i] == '=' {
			equals = i
		}
		if b[i] == '"' {
			inQuote = !inQuote
		}
	}
	from, end := 0, i
	if equals != 0 {
		name, set, from = string(b[:equals]), true, equals+1
		if from < i && b[from] == '"' {
			from++
			quoted = true
		}
	}
	if quoted && end > from && b[end-1] == '"' {
		end--
	}
	if equals != 0 {
		value = string(b[from:end])
	} else {
		name = string(b[:end])
	}
	return name, value, set, b[i:]
}
