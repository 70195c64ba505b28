package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// pair puts a program of two builds where they are looked for.
func pair(t *testing.T, one, two string) *release {
	r := &release{to: t.TempDir(), work: t.TempDir()}
	for try, text := range map[string]string{"first": one, "second": two} {
		path := r.built(try, "amd64", "pawl")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
	}
	return r
}

func TestWhatIsNotGivenOut(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	same := string(program)
	require.ErrorContains(t, pair(t, same, same+"x").compare("amd64", "pawl", 1<<40), "two builds of one commit differ")
	require.ErrorContains(t, pair(t, same, same).compare("amd64", "pawl", 1000), "at most 1000 are wanted")
	require.Error(t, pair(t, "no program", "no program").compare("amd64", "pawl", 1000))
	r := pair(t, same, same)
	require.NoError(t, r.compare("amd64", "pawl", 1<<40))
	require.Equal(t, []string{"pawl-linux-amd64"}, r.files)
}

func TestWhatAPackageLeavesIsFound(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"var/lib/dpkg/status", "etc/pawl/left"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), nil, 0o644))
	}
	left, err := below(root)
	require.NoError(t, err)
	require.Equal(t, []string{"etc/pawl/left"}, left)
}

func TestAManualShowsTextAsItIs(t *testing.T) {
	require.Equal(t, "\\&.TH x\n\\-\\-nodes \\eN \\(gapawl\\(ga \\(aqa\\(aq", roff(".TH x\n--nodes \\N `pawl` 'a'"))
	require.Equal(t, [][]string{{"  upgrade     W", "upgrade"}, {"  dry-run  W", "dry-run"}},
		verb.FindAllStringSubmatch("  upgrade     What\n  dry-run  What\n    more\n", -1))
}
