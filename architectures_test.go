package pawl

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/arch"
)

// programs are the files that may ask what this program was built for, and why.
var programs = map[string]string{
	"cmd/pawl/version.go":   "tells it",
	"cmd/pawl/inspect.go":   "what is meant where nobody names one",
	"image/image.go":        "what is meant where a caller names none",
	"node/api/service.go":   "tells it",
	"node/talos/look.go":    "tells it",
	"cmd/installer/root.go": "what is meant where nobody names one",
	"cmd/installer/pack.go": "what is meant where nobody names one",

	"cmd/installer/packbase.go": "what is meant where nobody names one",
}

// Package arch alone knows architectures: nothing that is installed names one, or asks what the program was built for.
func TestOnePlaceKnowsArchitectures(t *testing.T) {
	names, machines := []string{}, []uint64{}
	for _, a := range arch.All() {
		names = append(append(names, a.Aliases...), a.Name, a.EFI, a.GRUB, a.SystemdBoot(), a.SystemdStub(), a.BehindShim())
		machines = append(machines, uint64(a.Machine))
	}
	is := func(text string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(text, name) }) ||
			slices.ContainsFunc(arch.All(), func(a arch.Arch) bool {
				return strings.EqualFold(path.Base(strings.ReplaceAll(text, `\`, "/")), a.Loader())
			})
	}
	require.True(t, is("amd64") && is(`\efi\boot\bootaa64.efi`) && !is("an image for amd64"), "the judge judges")
	looked := 0
	for _, folder := range []string{"bootloader", "cmd", "image", "kexec", "node", "partition", "upgrade"} {
		require.NoError(t, filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && d.Name() != "testdata" {
				return err
			}
			if d.IsDir() {
				return fs.SkipDir
			}
			if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") ||
				filepath.Dir(file) == "bootloader/arch" {
				return nil
			}
			looked++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, file, nil, 0)
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					text, _ := strconv.Unquote(n.Value)
					number, _ := strconv.ParseUint(n.Value, 0, 64)
					if n.Kind == token.STRING && is(text) || n.Kind == token.INT && slices.Contains(machines, number) {
						t.Errorf("%s: %s names an architecture: ask package arch", set.Position(n.Pos()), n.Value)
					}
				case *ast.SelectorExpr:
					if n.Sel.Name == "GOARCH" && programs[filepath.ToSlash(file)] == "" {
						t.Errorf("%s: GOARCH is the program's, and here the image's or the disk's counts", set.Position(n.Pos()))
					}
				}
				return true
			})
			return err
		}))
	}
	require.Greater(t, looked, 200, "there is something to look at")
}
