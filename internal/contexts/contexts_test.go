package contexts_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/contexts"
)

// what a person writes by hand
const lab = `current: lab
contexts:
  lab:
    nodes: [10.0.0.1, 10.0.0.2]
    groups: {storage: [10.0.0.2, 10.0.0.3]}
    ca: ca.crt
    cert: /etc/me.crt
    key: me.key
  home:
    nodes: [unix:/run/pawl.sock]
`

func file(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestAContextIsTheCurrentOneOrTheOneThatIsNamed(t *testing.T) {
	path := file(t, lab)
	f, err := contexts.Read(path)
	require.NoError(t, err)
	require.Equal(t, []string{"home", "lab"}, f.Names())
	current, err := f.Context("")
	require.NoError(t, err)
	require.Equal(t, contexts.Context{Nodes: []string{"10.0.0.1", "10.0.0.2"},
		Groups: map[string][]string{"storage": {"10.0.0.2", "10.0.0.3"}}, CA: filepath.Join(filepath.Dir(path), "ca.crt"),
		Cert: "/etc/me.crt", Key: filepath.Join(filepath.Dir(path), "me.key")}, current)
	home, err := f.Context("home")
	require.NoError(t, err)
	require.Equal(t, []string{"unix:/run/pawl.sock"}, home.Nodes)
	_, err = f.Context("hom")
	require.ErrorContains(t, err, "(did you mean home?); it has home, lab")

	f.Current = ""
	none, err := f.Context("")
	require.NoError(t, err)
	require.Zero(t, none)
}

func TestGroupsOfNodes(t *testing.T) {
	f, err := contexts.Read(file(t, lab))
	require.NoError(t, err)
	c, err := f.Context("lab")
	require.NoError(t, err)
	nodes, err := c.Expand([]string{"a", "@storage", "@all", "a"})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "10.0.0.2", "10.0.0.3", "10.0.0.1"}, nodes)
	_, err = c.Expand([]string{"@storge"})
	require.ErrorContains(t, err, `no group "storge" (did you mean storage?); it has storage, all`)
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config.yaml")
	f, err := contexts.Read(path)
	require.NoError(t, err)
	_, err = f.Context("lab")
	require.ErrorContains(t, err, "pawl config set")
	f.Contexts["lab"] = contexts.Context{Nodes: []string{"a: b", "#c"}, Groups: map[string][]string{"g": {"x"}}}
	f.Current = "lab"
	require.NoError(t, f.Write())
	again, err := contexts.Read(path)
	require.NoError(t, err)
	require.Equal(t, f, again)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	f.Current = "other"
	require.ErrorContains(t, f.Write(), `no context "other"`)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestFilesThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"a key that is not known":   {"contexts: {a: {node: [x]}}", "line 1: field node not found"},
		"no such current context":   {"current: b\ncontexts: {a: {}}", `no context "b"`},
		"half a certificate":        {"contexts: {a: {cert: x}}", "cert and key: give both, or none"},
		"a name with a space":       {"contexts: {a b: {}}", "a name has 1 to 63"},
		"a name like a flag":        {"contexts: {-a: {}}", "a name has 1 to 63"},
		"a group's name":            {"contexts: {a: {groups: {'': [x]}}}", `group ""`},
		"no mapping":                {"- a", "cannot unmarshal"},
		"a key that is there twice": {"current: a\ncurrent: b", "already defined"},
	} {
		_, err := contexts.Read(file(t, test.text))
		require.ErrorContains(t, err, test.says, name)
	}
	_, err := contexts.Read(t.TempDir())
	require.Error(t, err)
	_, err = contexts.Read(file(t, ""))
	require.NoError(t, err)
}
