package predict

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/grubenv"
)

// said runs a script whose commands are noted, with their arguments in brackets.
func said(t *testing.T, text string) (lines []string, err error) {
	t.Helper()
	list, err := parseScript(text)
	s := &script{env: map[string]string{}, functions: map[string][]statement{},
		stops: func(err error) bool { return errors.Is(err, ErrNotModelled) }}
	s.command = func(argv []string) error {
		if argv[0] == "fails" {
			return errFalse
		}
		lines = append(lines, "["+strings.Join(argv[1:], "][")+"]")
		return nil
	}
	_, end := s.run(list)
	return lines, errors.Join(err, end)
}

func TestScriptsOfGRUB(t *testing.T) {
	for text, want := range map[string][]string{
		"say a b;say c # d\nsay e#f":                                         {"[a][b]", "[c]", "[e#f]"},
		`say 'a b' "c d" e\ f g'h'"i"`:                                       {"[a b][c d][e f][ghi]"},
		`say "a\"b\\c\$d\e" 'x\y'`:                                           {`[a"b\c$d\e][x\y]`},
		"set x=1\nsay $x ${x}y \"$x z\" '$x' $none \"$none\"":                {"[1][1y][1 z][$x][]"},
		"set x=\"a b\"\nsay $x \"$x\" -$x-":                                  {"[a][b][a b][-a][b-]"},
		"if say 1; then\nsay 2\nelse say 3; fi":                              {"[1]", "[2]"},
		"if fails; then say 1; elif say 2; then say 3; fi":                   {"[2]", "[3]"},
		"if fails; then say 1\nelse\nsay 2\nfi; say 3":                       {"[2]", "[3]"},
		"if [ a = b ]; then say 1; elif [ -n x -a 2 -gt 1 ]; then say 2; fi": {"[2]"},
		"if [ -z \"$none\" -a a != b ]; then say 1; fi":                      {"[1]"},
		"function f {\n  say $1 $2\n}\nf a b\nf c":                           {"[a][b]", "[c]"},
		"fails\nsay 1":     {"[1]"},
		"say 'two\nlines'": {"[two\nlines]"},
	} {
		lines, err := said(t, text)
		require.NoError(t, err, text)
		require.Equal(t, want, lines, text)
	}
}

func TestWhatIsBeforeASyntaxErrorRuns(t *testing.T) {
	for text, want := range map[string][]string{
		"say 1\nif say 2; then": {"[1]"}, "say 1\nsay 'open": {"[1]"}, "say 1\nfi\nsay 2": {"[1]"},
		"say 1\n\x00say 2":  {"[1]"},
		"say 1\nfunction {": {"[1]"},
	} {
		lines, err := said(t, text)
		require.ErrorIs(t, err, errSyntax, text)
		require.Equal(t, want, lines, text)
	}
	_, err := said(t, "for x in a b; do say $x; done")
	require.ErrorIs(t, err, ErrNotModelled)
	_, err = said(t, "if [ a -o b ]; then say 1; fi")
	require.ErrorIs(t, err, ErrNotModelled)
}

// The model's save_env against the codec, which grub-editenv judges.
func TestSaveEnvIsAsGrubEditenvDoesIt(t *testing.T) {
	data, codec := []byte(grubenv.New(80)), grubenv.New(80)
	for _, v := range []grubenv.Variable{{Name: "a", Value: "1"}, {Name: "bb", Value: `\x`},
		{Name: "a", Value: "long\ner"}, {Name: "bb", Value: ""}, {Name: "a", Value: ""}} {
		var err error
		data, err = setVariable(data, v.Name, v.Value)
		require.NoError(t, err)
		require.NoError(t, codec.Set(v.Name, v.Value))
		require.Equal(t, string(codec), string(data))
		got := map[string]string{}
		require.NoError(t, eachVariable(data, func(name, value string) { got[name] = value }))
		require.Equal(t, v.Value, got[v.Name])
	}
	_, err := setVariable(data, "a", strings.Repeat("x", 80))
	require.Error(t, err)
	_, err = setVariable([]byte(grubenv.Signature+"a=b"), "a", "c")
	require.Error(t, err, "a block without a whole last line is broken for GRUB")
	require.Error(t, eachVariable(make([]byte, 512), func(string, string) {}))
}

// What a write of which only a part arrived leaves: the model, and the codec that State uses, read it alike.
func TestBrokenEnvironmentBlocks(t *testing.T) {
	for _, body := range []string{"a=1\nne\nb=2\nc=3\n###", "=0\na=1\n", "a=1\na=2\n", "a=1\nrest", "a=1\nb=rest",
		"a=\\\nx\n#\\\n=\nb=1\n"} {
		var got []grubenv.Variable
		data := []byte(grubenv.Signature + body)
		require.NoError(t, eachVariable(data, func(name, value string) {
			got = append(got,
				grubenv.Variable{Name: name, Value: value})
		}))
		want, err := grubenv.Scan(data)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", body)
		require.NotEmpty(t, got)
	}
}

func FuzzScript(f *testing.F) {
	f.Add("if [ -s /x ]; then\n set y=\"$z\" # c\nfi")
	f.Add("function f {\n say ${x} 'a' \\\n}\nf")
	f.Add("\x00'\"")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseScript(text)
		if err != nil && !errors.Is(err, errSyntax) && !errors.Is(err, ErrNotModelled) {
			t.Fatal(err)
		}
		s := &script{env: map[string]string{}, functions: map[string][]statement{},
			stops: func(err error) bool { return true }}
		n := 0
		s.command = func([]string) error {
			if n++; n > 1000 {
				return ErrNotModelled
			}
			return errFalse
		}
		_, _ = s.run(list)
	})
}
