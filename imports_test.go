// Package pawl holds no code of its own: this test keeps the arrows between the packages pointing down.
package pawl

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

const module = "github.com/pawl-os/pawl/"

// allowed says which packages of this module each package may import, and why. A package that is not listed may import
// none; tests may import anything.
var allowed = map[string]struct {
	imports []string
	why     string
}{
	"bootloader/authenticode": {nil, "a leaf codec that anyone may import"},

	"partition/disktest": {nil, "a device for anybody's tests"},
	"partition/device":   {nil, "what everything that reads or writes a disk agrees on"},
	"partition/direct":   {nil, "files past the kernel's cache"},
	"partition": {[]string{"partition/device", "partition/direct", "internal/foreign",
		"internal/mounttable"}, "knows disks, not what is on them"},
	"partition/meta": {[]string{"partition/device"}, "a codec over a device"},
	"bootloader": {[]string{"partition/device", "bootloader/bootfs", "bootloader/efivar"},
		"types that everything above shares, and what a backend is given to work on"},
	"bootloader/loaders": {[]string{"bootloader", "bootloader/grub", "bootloader/sdboot"},
		"the list of the loaders that Pawl brings; upgrade is given it and does not know it"},
	"bootloader/bootfs":  {[]string{"partition/device"}, "a file system over a device"},
	"bootloader/efivar":  {nil, "a leaf codec that anyone may import"},
	"bootloader/uki":     {nil, "a leaf codec that anyone may import"},
	"bootloader/cmdline": {nil, "a leaf codec that anyone may import"},
	"bootloader/bootorder": {[]string{"bootloader", "bootloader/authenticode", "bootloader/bootfs",
		"bootloader/efivar", "bootloader/uki"}, "what the backends on UEFI share"},
	"bootloader/sdboot": {[]string{"bootloader", "bootloader/bootfs", "bootloader/bootorder", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/uki", "image/format"}, "a backend over the file system and the codecs"},
	"bootloader/grub": {[]string{"bootloader", "bootloader/bootfs", "bootloader/bootorder", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/grubenv", "bootloader/uki", "partition/device", "image/format"},
		"a backend over the file system and the codecs"},
	"bootloader/grubenv": {nil, "a leaf codec that anyone may import"},
	"bootloader/predict": {[]string{"bootloader", "bootloader/authenticode", "bootloader/cmdline",
		"bootloader/efivar", "partition/device"},
		"the model of firmware and loader; reads disk and file system by itself, so shares no code with what writes " +
			"them"},
	"bootloader/loadertest": {[]string{"bootloader", "bootloader/authenticode", "bootloader/efivar",
		"bootloader/bootfs", "bootloader/predict", "partition/disktest"},
		"machines to boot with the model, and the conformance suite"},
	"image/format": {nil, "what images are made by and read by"},
	"image": {[]string{"bootloader", "image/format"},
		"sources of images; knows no disk; of bootloader, what a version may be"},
	"image/pack": {[]string{"image", "bootloader", "bootloader/uki", "image/format"},
		"makes what image reads; of bootloader, what a version may be"},
	"image/pack/grubcore": {[]string{"bootloader/grub"},
		"GRUB's parts for an image, made with the programs of GRUB that are installed"},
	"image/disk": {[]string{"partition/direct", "internal/foreign", "internal/nearest"},
		"files as devices; knows nothing of what is put on them"},
	"kexec": {[]string{"bootloader/uki"}, "starts a kernel; knows neither slots nor loaders"},
	"upgrade": {[]string{"kexec", "bootloader", "bootloader/bootfs", "bootloader/cmdline", "bootloader/efivar",
		"bootloader/predict", "bootloader/uki", "image", "partition", "partition/meta", "upgrade/pstore",
		"upgrade/versions", "partition/direct", "internal/foreign", "internal/unrehearsed", "partition/device",
		"image/format"}, "composes the four below it"},
	"upgrade/pstore":   {nil, "files of the kernel"},
	"upgrade/versions": {nil, "rules about versions; knows no machine"},
	"node": {[]string{"internal/foreign", "internal/mounttable", "internal/nearest", "upgrade",
		"upgrade/versions", "image", "bootloader", "bootloader/loaders", "partition", "kexec", "node/watchdog",
		"partition/device"}, "the service over upgrade; of what is below it, the errors that it tells apart, and the " +
		"jump into a kernel"},
	"node/api": {[]string{"internal/foreign", "node", "node/pawlv1", "upgrade"},
		"the service over HTTP: the one place where Go's types meet the wire"},
	"node/watchdog": {nil, "a device of the kernel; knows nothing of trials"},
	"node/hookdir":  {[]string{"internal/foreign", "internal/nearest", "node"}, "an operator's executables as hooks"},
	"node/pawlv1":   {nil, "the API: generated messages"},
	"node/client":   {[]string{"node/pawlv1"}, "the other end of the service"},
}

// free may import anything of the module: commands, examples and what only tests use.
var free = []string{"cmd/", "examples/", "internal/"}

func TestArrowsPointDown(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && file != "." {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own, with a table of its own
			}
		}
		if err == nil && d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir // no packages of this module
		}
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		if slices.ContainsFunc(free, func(p string) bool { return strings.HasPrefix(pkg, p) }) {
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
			if dep, ours := strings.CutPrefix(name, module); ours && !slices.Contains(allowed[pkg].imports, dep) {
				t.Errorf("%s imports %s, which the table does not allow (%s: %s)", file, dep, pkg, allowed[pkg].why)
			}
			starts := pkg == "node/hookdir" ||
				pkg == "image/pack/grubcore" // what an operator put there; GRUB's own programs, when packing
			if name == "C" || name == "os/exec" && !starts {
				t.Errorf("%s imports %s: the library has no cgo and starts no program", file, name)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("the table lists %s, which is not there", pkg)
		}
	}
}
