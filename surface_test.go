package pawl

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a newcomer has to read of package upgrade stays within a sitting. What only tests or siblings need goes inside;
// a matter of its own becomes a package beside it.
func TestUpgradesSurfaceStaysSmall(t *testing.T) {
	out, err := exec.Command("go", "doc", "-all", "./upgrade").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Less(t, strings.Count(string(out), "\n"), 450)
}

// A list that any program may change is a function. What is left are errors, which are compared, and numbers of bytes
// (GUIDs), which are copied.
func TestNoExportedListCanBeChanged(t *testing.T) {
	files := token.NewFileSet()
	looked := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "internal" || e.Name() == "testdata" || e.Name() == ".git"):
			return filepath.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.HasSuffix(path, ".pb.go"):
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if g, is := d.(*ast.GenDecl); is && g.Tok == token.VAR && f.Name.Name != "main" {
				for _, s := range g.Specs {
					looked++
					requireFixed(t, files, s.(*ast.ValueSpec))
				}
			}
		}
		return nil
	}))
	require.NotZero(t, looked)
}

// requireFixed requires that the exported names of a declaration are not lists or tables.
func requireFixed(t *testing.T, files *token.FileSet, s *ast.ValueSpec) {
	for i, name := range s.Names {
		if !name.IsExported() {
			continue
		}
		kinds := []ast.Expr{s.Type}
		if i < len(s.Values) {
			if l, is := s.Values[i].(*ast.CompositeLit); is {
				kinds = append(kinds, l.Type)
			}
		}
		for _, k := range kinds {
			switch k.(type) {
			case *ast.ArrayType, *ast.MapType:
				t.Errorf("%v: %s can be changed by whoever imports it; make it a function", files.Position(name.Pos()), name)
			}
		}
	}
}

// What a reader has to hold in mind at once stays within a screen or two. Tests, generated code and these tables may be
// longer.
func TestFunctionsStayShort(t *testing.T) {
	tables := map[string]bool{"internal/lab/proof/operations.go: table": true}
	looked := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == ".git":
			return filepath.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.HasSuffix(path, ".pb.go") || strings.HasSuffix(path, ".connect.go"):
			return nil
		}
		looked++
		long, err := longFunctions(path, nil)
		for name, lines := range long {
			if name = filepath.ToSlash(path) + ": " + name; !tables[name] {
				t.Errorf("%s has %d lines, want at most 80", name, lines)
			}
			delete(tables, name)
		}
		return err
	}))
	require.NotZero(t, looked)
	require.Empty(t, tables, "rows that are not used")
}

func TestALongFunctionIsFound(t *testing.T) {
	body := func(lines int) string { return " {\n" + strings.Repeat("\tf()\n", lines-2) + "}\n" }
	long, err := longFunctions("x.go", "package x\n\nfunc f()"+body(80)+"func g()"+body(81)+"func (t T) m()"+body(82))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"g": 81, "m": 82}, long)
}

// longFunctions are the functions of a file, or of src when it is not nil, that have more than 80 lines.
func longFunctions(path string, src any) (map[string]int, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, src, 0)
	if err != nil {
		return nil, err
	}
	long := map[string]int{}
	for _, d := range f.Decls {
		if fn, is := d.(*ast.FuncDecl); is {
			if lines := files.Position(fn.End()).Line - files.Position(fn.Pos()).Line + 1; lines > 80 {
				long[fn.Name.Name] = lines
			}
		}
	}
	return long, nil
}
