package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// profileFile writes a profile.
func profileFile(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "profile.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Whatever is a flag of `image` is a key: what all flags say is printed as a profile, and read back.
func TestEveryFlagOfImageIsAKey(t *testing.T) {
	t.Parallel()
	said, heard := imageCommand(), imageCommand()
	given := map[string][]string{}
	for _, name := range profileKeys(said.Flags()) {
		f := said.Flags().Lookup(name)
		var texts []string
		switch f.Value.Type() {
		case "bool":
			texts = []string{"true"}
		case "int":
			texts = []string{"7"}
		case "string":
			texts = []string{"null # 'ü\" x: \t" + name}
		default:
			texts = []string{"META=a b", "- [x]", "NULL", "=", "x:"}
		}
		for _, text := range texts {
			require.NoError(t, said.Flags().Set(name, text))
		}
		given[name] = texts
	}
	var text strings.Builder
	said.SetOut(&text)
	printProfile(out(said), said.Flags())
	require.NoError(t, applyProfile(heard, profileFile(t, text.String())))
	heard.Flags().VisitAll(func(f *pflag.Flag) {
		require.Equal(t, said.Flags().Lookup(f.Name).Value.String(), f.Value.String(), f.Name)
	})
	require.Greater(t, len(given), 12)
}

func TestAProfileMakesWhatTheFlagsWould(t *testing.T) {
	f := newFactory(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := t.TempDir()
	path := profileFile(t, "# a comment\nimage: "+f.one+"\nsize: 9GiB\noutput-format: qcow2\n"+
		"label:\n  META: NOTES\n  STATE: KEEP\n")
	from, by := filepath.Join(dir, "from"), filepath.Join(dir, "by")
	status, said := run(t, "image", "--profile", path, "--output", from, "--size", "2GiB")
	require.Zero(t, status, said)
	require.Contains(t, said, "qcow2, 2GiB boots 1.0.0", "the flag wins over its key")
	status, said = run(t, "image", "--image", f.one, "--output", by, "--size", "2GiB", "--output-format", "qcow2",
		"--label", "META=NOTES", "--label", "STATE=KEEP")
	require.Zero(t, status, said)
	one, err := os.ReadFile(from)
	require.NoError(t, err)
	two, err := os.ReadFile(by)
	require.NoError(t, err)
	require.Equal(t, one, two)

	status, said = run(t, "image", "--profile", path, "--plan", "--seed", "x")
	require.Zero(t, status, said)
	_, recipe, ok := strings.Cut(said, "# the recipe, for --profile\n")
	require.True(t, ok)
	status, again := run(t, "image", "--profile", profileFile(t, recipe), "--plan")
	require.Zero(t, status, again)
	require.Equal(t, said, again)
}

func TestProfilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"an unknown key": {"image: x\nsise: 2GiB",
			`line 2: key "sise": a profile has none of that name (did you mean size?)`},
		"a key twice":           {"size: 2GiB\nsize: 3GiB", "line 2: key size: line 1 has it already"},
		"a profile in it":       {"profile: x", `key "profile": a profile has none`},
		"a plan in it":          {"plan: true", `key "plan": a profile has none`},
		"nothing":               {"", "is empty"},
		"nothing of a key":      {"size:", "key size: want one value; leave the key out"},
		"a list for one value":  {"size: [1GiB, 2GiB]", "key size: want one value"},
		"a list in a list":      {"label: [[META=x]]", "key label: want one value"},
		"a mapping in a value":  {"label: {META: {x: y}}", "key label: META: want one value"},
		"no mapping":            {"- size", "line 1: want keys with values"},
		"a key that is none":    {"[a]: b", "want one value"},
		"two documents":         {"size: 2GiB\n---\nsize: 3GiB", "more than one document"},
		"an anchor's copy":      {"seed: &a x\nlabel: *a", "want a list, without anchors"},
		"no YAML":               {"size: [", "did not find expected node content"},
		"a number that is none": {"sector-size: many", `key sector-size: invalid argument "many"`},
		"a yes that is none":    {"active: yes", `key active: invalid argument "yes"`},
		"a wrong value":         {"size: 0\noutput: x", `--size: size "0": want a number`},
		"more than a profile":   {"# " + strings.Repeat("x", maxProfile), "it is no profile"},
	} {
		t.Run(name, func(t *testing.T) {
			status, said := run(t, "image", "--profile", profileFile(t, c.text))
			require.Equal(t, exitUsage, status, said)
			require.Contains(t, said, c.says)
		})
	}
	status, said := run(t, "image", "--profile", "/gone.yaml")
	require.Equal(t, exitUsage, status, said)
	require.Contains(t, said, "--profile: open /gone.yaml")
}

// A profile of others is refused, or sets flags; it never ends the program.
func FuzzProfile(f *testing.F) {
	f.Add([]byte("image: x\nsize: 2GiB\nlabel: {META: NOTES}\npartition:\n  - {label: A, size: 1MiB}\n"))
	f.Add([]byte("arg: [a, b]\nmeta:\n  0x0a: text\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, err := parseProfile(data)
		if err != nil {
			return
		}
		c := imageCommand()
		seen := map[string]int{}
		for _, p := range pairs {
			_ = p.apply(c.Flags(), map[string]bool{}, seen)
		}
	})
}
