package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/terminal"
)

// elsewhere are directories whose errors no command of the installer can meet; rootfs is for an initramfs.
var elsewhere = []string{"cluster", "node", "cmd", "examples", "internal", "partition/disktest",
	"bootloader/loadertest", "bootloader/rootfs"}

// answered are errors that the library asks for, and goes another way on.
var answered = []string{"device.ErrCached"}

// sentinels are the exported errors of the library's packages: "image.ErrNotFound".
func sentinels(t *testing.T) []string {
	t.Helper()
	root := filepath.Join("..", "..")
	var names []string
	require.NoError(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := filepath.Rel(root, file)
		if d.IsDir() && (slices.Contains(elsewhere, filepath.ToSlash(at)) || strings.HasPrefix(at, ".git")) {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.VAR {
				for _, spec := range g.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						if strings.HasPrefix(name.Name, "Err") {
							names = append(names, parsed.Name.Name+"."+name.Name)
						}
					}
				}
			}
		}
		return nil
	}))
	return names
}

func TestEveryErrorOfTheLibraryHasAnExitCodeAndAWayOut(t *testing.T) {
	source, err := os.ReadFile("reasons.go")
	require.NoError(t, err)
	var told []string
	for _, m := range regexp.MustCompile(`(?m)^\t\{(\w+\.Err\w+), exit`).FindAllSubmatch(source, -1) {
		told = append(told, string(m[1]))
	}
	all := sentinels(t)
	require.Greater(t, len(all), 40, "the walk found them")
	for _, name := range all {
		if !slices.Contains(told, name) && !slices.Contains(answered, name) {
			t.Errorf("%s has no line in reasons.go: give it an exit code and a way out", name)
		}
	}
	for _, r := range reasons {
		var b bytes.Buffer
		require.Equal(t, r.code, complain(terminal.To(&b), fmt.Errorf("do it: %w", r.err)), "%v", r.err)
		require.NotEqual(t, exitOther, r.code, "%v", r.err)
		require.Equal(t, fmt.Sprintf("installer: do it: %v\ndo: %s\n", r.err, r.do), b.String())
		require.NotEmpty(t, r.do, "%v", r.err)
	}
}
