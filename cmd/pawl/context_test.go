package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// alone hides the contexts of who runs the tests from them.
func alone() {
	for _, name := range []string{"PAWL_NODES", "PAWL_CONTEXT", "PAWL_CA", "PAWL_CERT", "PAWL_KEY"} {
		os.Unsetenv(name)
	}
	os.Setenv("PAWL_CONFIG", os.DevNull)
}

// in runs the command with the contexts of a file of its own.
func in(t *testing.T, path string) func(args ...string) (int, string, string) {
	t.Setenv("PAWL_CONFIG", path)
	return func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), args, &out, &errs)
		return code, out.String(), errs.String()
	}
}

func TestNodesComeFromFlagsElseTheEnvironmentElseTheContext(t *testing.T) {
	one, two, three := &fake{status: status("boot-1", "A", "A")}, &fake{status: status("boot-2", "A", "A")},
		&fake{status: status("boot-3", "A", "A")}
	a, b, c := one.address(t), two.address(t), three.address(t)
	pawl := in(t, filepath.Join(t.TempDir(), "pawl", "config.yaml"))
	asked := func(args ...string) []string {
		code, out, errs := pawl(append(args, "-o", "json")...)
		require.Zero(t, code, errs)
		var nodes []string
		for line := range strings.Lines(out) {
			var told struct{ Node string }
			require.NoError(t, json.Unmarshal([]byte(line), &told))
			nodes = append(nodes, told.Node)
		}
		return nodes
	}
	for _, args := range [][]string{{"config", "set", "lab", "--nodes", a + "," + b, "--group", "second=" + b},
		{"config", "set", "home", "--nodes", c}} {
		code, _, errs := pawl(args...)
		require.Zero(t, code, errs)
	}
	require.Equal(t, []string{a, b}, asked("status"), "the first context is the current one")
	require.Equal(t, []string{b}, asked("status", "--nodes", "@second"))
	require.Equal(t, []string{c, a, b}, asked("status", "-n", c+",@all"))
	require.Equal(t, []string{c}, asked("status", "--context", "home"))
	t.Setenv("PAWL_CONTEXT", "home")
	require.Equal(t, []string{c}, asked("status"))
	t.Setenv("PAWL_NODES", a)
	require.Equal(t, []string{a}, asked("status"))
	require.Equal(t, []string{b}, asked("status", "--nodes", b))
	t.Setenv("PAWL_NODES", "")
	t.Setenv("PAWL_CONTEXT", "")
	code, _, errs := pawl("config", "use", "home")
	require.Zero(t, code, errs)
	require.Equal(t, []string{c}, asked("status"))

	code, out, errs := pawl("config", "show")
	require.Zero(t, code, errs)
	for _, text := range []string{"*  home     " + c, "   lab      " + a + "," + b, "@second=" + b} {
		require.Contains(t, out, text)
	}
	code, out, _ = pawl("config", "show", "-o", "yaml")
	require.Zero(t, code)
	d := yaml.NewDecoder(strings.NewReader(out))
	var told struct {
		Context string
		Current bool
		Nodes   []string
	}
	require.NoError(t, d.Decode(&told))
	require.Equal(t, "home", told.Context)
	require.True(t, told.Current)

	code, _, errs = pawl("config", "remove", "home")
	require.Zero(t, code, errs)
	code, out, _ = pawl("config", "show")
	require.Zero(t, code)
	require.NotContains(t, out, "home")
	require.NotContains(t, out, "*")
}

// What a context lacks, and what it has beside the flags.
func TestAContextChangesOnlyWhereItIsGivenSomething(t *testing.T) {
	dir := t.TempDir()
	pawl := in(t, filepath.Join(dir, "config.yaml"))
	read := func() string {
		text, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
		require.NoError(t, err)
		return string(text)
	}
	code, _, errs := pawl("config", "set", "lab", "--nodes", "a,b", "--group", "g=a", "--ca", "/x/ca.crt")
	require.Zero(t, code, errs)
	code, _, errs = pawl("config", "set", "lab", "--cert", "/x/me.crt", "--key", "/x/me.key", "--group", "h=b", "--group",
		"g=")
	require.Zero(t, code, errs)
	require.Equal(t, "current: lab\ncontexts:\n  lab:\n    nodes: [a, b]\n    groups:\n      h:\n        - b\n"+
		"    ca: /x/ca.crt\n    cert: /x/me.crt\n    key: /x/me.key\n", read())
	before := read()
	for line, says := range map[string]string{
		"config set lab --cert /y":        "", // the other half stays
		"config set two --cert /y":        "give both, or none",
		"config set -- -x":                "a name has 1 to 63",
		"config set lab --nodes @g":       "a context's nodes are addresses",
		"config set lab --group g":        "want NAME=NODE,NODE",
		"config set":                      "takes one name",
		"config use labb":                 "(did you mean lab?)",
		"config remove labb":              "(did you mean lab?)",
		"config show x":                   "takes no argument",
		"config":                          "want set, use, remove or show",
		"status --context labb":           "(did you mean lab?)",
		"status --nodes @hh":              "no group \"hh\" (did you mean h?)",
		"status":                          "/x/ca.crt: no such file",
		"status --nodes c --ca /z/ca.crt": "/z/ca.crt: no such file",
	} {
		code, _, errs := pawl(strings.Fields(line)...)
		if says == "" {
			require.Zero(t, code, line)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(before), 0o600))
			continue
		}
		require.Equal(t, exitUsage, code, line)
		require.Contains(t, errs, says, line)
		require.Equal(t, before, read(), line)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("contexts: {a: {nodse: []}}"), 0o600))
	code, _, errs = pawl("status")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "config.yaml")
	require.Contains(t, errs, "nodse")
}

func TestTheShellIsOfferedContextsNodesAndOutputs(t *testing.T) {
	pawl := in(t, filepath.Join(t.TempDir(), "config.yaml"))
	for _, args := range [][]string{{"config", "set", "lab", "--nodes", "n1,n2", "--group", "g=n3"},
		{"config", "set", "home", "--nodes", "h"}} {
		code, _, errs := pawl(args...)
		require.Zero(t, code, errs)
	}
	for line, want := range map[string][]string{
		"status --context ": {"home", "lab"}, "status -o ": outputs, "status --nodes ": {"@g", "n1", "n2", "n3"},
		"--context home status --nodes ": {"h"}, "config use ": {"home", "lab"},
	} {
		args := strings.Split(line, " ")
		code, out, _ := pawl(append([]string{"__complete"}, args...)...)
		require.Zero(t, code)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Equal(t, want, lines[:len(lines)-1], line) // the last one is for the shell
	}
}

func TestStatusAsYAML(t *testing.T) {
	f := &fake{status: status("boot-1", "A", "A")}
	code, out, errs := pawl(t, []string{f.address(t)}, "status", "-o", "yaml")
	require.Zero(t, code, errs)
	var told struct {
		Node   string
		Status struct {
			BootID string `yaml:"bootId"`
			Slots  []struct{ Name, Image string }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(out), &told))
	require.Equal(t, "node1", told.Node)
	require.Equal(t, "boot-1", told.Status.BootID)
	require.Equal(t, "sha256:2222222222222222", told.Status.Slots[1].Image)
}
