// Package cluster holds no code of its own: this test keeps the arrows between its packages pointing down.
package cluster

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "github.com/pawl-os/pawl/"

// allowed says which packages of Pawl each package of this module may import; tests, and what is free, may import
// anything.
var allowed = map[string][]string{
	".":              {"cluster/lock", "cluster/quorum", "node", "upgrade/attempt"},
	"lock":           nil, // decisions and their interfaces: no etcd, no Kubernetes, nothing of a node
	"lock/fleetlock": {"cluster/lock"},
	"quorum":         nil,
	"lock/explore":   {"cluster/lock", "cluster/quorum"},
	"kubernetes":     {"cluster/lock", "node"},
	"etcd":           {"cluster", "cluster/lock", "cluster/quorum"},
}

// free are commands, and what only tests use.
var free = []string{"cmd/", "internal/", "lock/explore/run"}

func TestArrowsPointDown(t *testing.T) {
	seen := map[string]bool{}
	require.NoError(t, filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && file != "." {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
				return fs.SkipDir // another module
			}
		}
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		if slices.ContainsFunc(free, func(p string) bool { return strings.HasPrefix(pkg+"/", p) }) {
			return nil
		}
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if dep, ours := strings.CutPrefix(name, root); ours && !slices.Contains(allowed[pkg], dep) {
				t.Errorf("%s imports %s, which the table does not allow", file, dep)
			}
			if name == "C" || name == "os/exec" {
				t.Errorf("%s imports %s: the library has no cgo and starts no program", file, name)
			}
		}
		return nil
	}))
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("the table lists %s, which is not there", pkg)
		}
	}
}
