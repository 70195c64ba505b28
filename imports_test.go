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
	"internal/buildinfo":   {nil, "what a program says of itself"},
	"internal/bytesize":    {nil, "numbers of bytes for people"},
	"internal/certs":       {nil, "certificates of a small authority"},
	"internal/commandline": {[]string{"internal/nearest"}, "flags and files of settings"},
	"internal/contexts":    {[]string{"internal/nearest"}, "whom pawl asks"},
	"internal/enrol":       {[]string{"internal/certs", "internal/foreign"}, "a new node's way to its certificate"},
	"internal/exposition":  {nil, "a leaf codec"},
	"internal/foreign":     {nil, "text of others, made valid and bounded"},
	"internal/mounttable":  {nil, "what is mounted"},
	"internal/nearest":     {nil, "the word that was meant"},
	"internal/terminal":    {nil, "what may be printed on a terminal"},
	"internal/redact":      {nil, "text without its secrets"},
	"internal/unrehearsed": {nil, "a switch that the laboratories pull"},
	"internal/verbs":       {nil, "what the commands have in common"},
	"internal/show":        {[]string{"internal/bytesize", "internal/terminal"}, "tables for people"},
	"internal/pawld": {[]string{"bootloader", "bootloader/loaders", "internal/buildinfo", "internal/commandline",
		"internal/nearest",
		"internal/redact", "internal/terminal", "node", "node/api", "node/api/access",
		"node/hookdir", "node/talos", "node/watchdog", "partition", "upgrade"},
		"the node service as a command, for both of them"},

	"bootloader/arch":         {nil, "what architectures are called; a leaf that anyone may import"},
	"bootloader/authenticode": {nil, "a leaf codec that anyone may import"},

	"bootloader/secureboot": {[]string{"bootloader/authenticode", "bootloader/efivar"},
		"what firmware judges by, over two codecs; reads variables that it is given, and no file"},

	"partition/disktest": {nil, "a device for anybody's tests"},
	"partition/device":   {nil, "what everything that reads or writes a disk agrees on"},
	"partition/direct":   {nil, "files past the kernel's cache"},
	"partition": {[]string{"partition/device", "partition/direct", "internal/bytesize", "internal/foreign",
		"internal/mounttable"}, "knows disks, not what is on them"},
	"partition/disks": {[]string{"internal/bytesize", "internal/foreign", "partition"},
		"which disks a machine has; of partition, whether one is in use"},
	"partition/meta": {[]string{"partition/device"}, "a codec over a device"},
	"bootloader": {[]string{"partition/device", "bootloader/bootfs", "bootloader/efivar"},
		"types that everything above shares, and what a backend is given to work on"},
	"bootloader/loaders": {[]string{"bootloader", "bootloader/grub", "bootloader/sdboot"},
		"the list of the loaders that Pawl brings; upgrade is given it and does not know it"},
	"bootloader/bootfs":  {[]string{"partition/device"}, "a file system over a device"},
	"bootloader/efivar":  {nil, "a leaf codec that anyone may import"},
	"bootloader/uki":     {[]string{"bootloader/arch"}, "a leaf codec that anyone may import"},
	"bootloader/cmdline": {nil, "a leaf codec that anyone may import"},
	"bootloader/bootorder": {[]string{"bootloader/arch", "bootloader", "bootloader/authenticode", "bootloader/bootfs",
		"bootloader/efivar", "bootloader/secureboot", "bootloader/uki"}, "what the backends on UEFI share"},
	"bootloader/sdboot": {[]string{"bootloader", "bootloader/bootfs", "bootloader/bootorder", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/uki", "image/format"}, "a backend over the file system and the codecs"},
	"bootloader/grub": {[]string{"bootloader/arch", "bootloader", "bootloader/bootfs", "bootloader/bootorder", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/grubenv", "bootloader/uki", "partition/device", "image/format"},
		"a backend over the file system and the codecs"},
	"bootloader/rootfs": {[]string{"bootloader", "bootloader/bootfs", "bootloader/cmdline", "image/verity", "partition",
		"partition/device"}, "for an initramfs: finds the root of the slot that runs; writes nothing"},
	"bootloader/rootfs/internal/verityguest": {[]string{"bootloader/rootfs", "partition", "internal/harness/guest"},
		"PID 1 of a test machine"},
	"bootloader/bootfs/internal/vfatguest": {[]string{"internal/harness/guest"}, "PID 1 of a test machine"},
	"bootloader/grubenv":                   {nil, "a leaf codec that anyone may import"},
	"bootloader/predict": {[]string{"bootloader/arch", "bootloader", "bootloader/authenticode", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/secureboot", "partition/device"},
		"the model of firmware and loader; reads disk and file system by itself, so shares no code with what writes " +
			"them"},
	"bootloader/loadertest": {[]string{"bootloader", "bootloader/arch", "bootloader/authenticode", "bootloader/efivar",
		"bootloader/bootfs", "bootloader/predict", "partition/disktest"},
		"machines to boot with the model, and the conformance suite"},
	"image/format":  {nil, "what images are made by and read by"},
	"image/chunks":  {nil, "a leaf codec that anyone may import"},
	"image/patches": {nil, "a leaf codec that anyone may import"},
	"image": {[]string{"bootloader", "bootloader/arch", "image/chunks", "image/format", "image/patches"},
		"sources of images; knows no disk; of bootloader, what a version may be"},
	"image/pack": {[]string{"bootloader", "bootloader/authenticode", "bootloader/uki", "image/chunks", "image/format",
		"image/patches", "image/verity"},
		"makes what image reads; of bootloader, what a version may be"},
	"image/pack/grubcore": {[]string{"bootloader/arch", "bootloader/grub", "image/pack"},
		"GRUB's parts for an image, made with the programs of GRUB that are installed"},
	"image/disk": {[]string{"partition/direct", "internal/foreign", "internal/nearest"},
		"files as devices; knows nothing of what is put on them"},
	"image/ext4": {[]string{"partition/device"}, "a file system over a device"},
	"image/content": {[]string{"bootloader/bootfs", "image/disk", "image/ext4", "partition/device"},
		"what partitions of a new disk hold: files, or a file system of them"},
	"image/verity": {nil, "a leaf codec that anyone may import"},
	"kexec":        {[]string{"bootloader/uki"}, "starts a kernel; knows neither slots nor loaders"},
	"upgrade": {[]string{"kexec", "bootloader", "bootloader/arch", "bootloader/authenticode", "bootloader/bootfs", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/predict", "bootloader/secureboot", "bootloader/uki", "image", "image/verity",
		"partition", "partition/meta", "upgrade/pstore", "upgrade/versions",
		"upgrade/attempt", "upgrade/progress", "upgrade/report", "upgrade/internal/foretell",
		"upgrade/internal/sentence", "upgrade/unfinished", "partition/direct", "internal/unrehearsed", "partition/device",
		"image/format"}, "composes the four below it"},
	"upgrade/doctor": {[]string{"bootloader", "bootloader/efivar", "bootloader/predict", "partition",
		"partition/device", "partition/meta", "upgrade", "upgrade/attempt", "upgrade/report", "upgrade/internal/foretell",
		"upgrade/internal/sentence", "upgrade/mirror"}, "looks at a machine, and changes nothing"},
	"upgrade/mirror": {[]string{"bootloader", "bootloader/bootfs", "bootloader/bootorder", "bootloader/cmdline",
		"bootloader/efivar", "bootloader/predict", "partition", "partition/device", "partition/disks", "partition/meta",
		"upgrade"}, "copies a boot file system; what boots of the first one is upgrade's"},
	"upgrade/internal/foretell": {[]string{"bootloader", "bootloader/efivar", "bootloader/predict",
		"partition/device"}, "what upgrade and its doctor ask of the model"},
	"upgrade/progress":          {nil, "what an operation tells; does nothing"},
	"upgrade/report":            {[]string{"bootloader", "upgrade/attempt"}, "what is known of a machine; reads nothing"},
	"upgrade/internal/sentence": {nil, "sentences"},
	"upgrade/attempt":           {[]string{"bootloader", "internal/foreign", "upgrade/pstore"}, "records of META"},
	"upgrade/adopt": {[]string{"bootloader", "bootloader/bootfs", "partition", "partition/meta"},
		"looks at disks of others"},
	"upgrade/pstore":     {nil, "files of the kernel"},
	"upgrade/unfinished": {[]string{"partition", "partition/meta", "upgrade/attempt"}, "a record of META, for people"},
	"upgrade/versions":   {nil, "rules about versions; knows no machine"},
	"node": {[]string{"internal/buildinfo", "internal/foreign", "internal/mounttable", "internal/nearest", "upgrade",
		"upgrade/attempt", "upgrade/doctor", "upgrade/mirror", "upgrade/progress", "upgrade/report",
		"upgrade/versions", "image", "bootloader",
		"bootloader/loaders", "partition", "partition/meta", "kexec", "node/watchdog", "partition/device"},
		"the service over upgrade; of what is below it, the errors that it tells apart, and the jump into a kernel"},
	"node/api/access": {[]string{"internal/certs", "internal/foreign", "node/pawlv1"}, "who may do what; serves nothing"},
	"node/api": {[]string{"bootloader", "internal/buildinfo", "internal/bytesize", "internal/exposition", "internal/foreign", "node", "node/api/access", "node/pawlv1", "upgrade",
		"upgrade/attempt",
		"upgrade/doctor", "upgrade/progress"},
		"the service over HTTP: the one place where Go's types meet the wire"},
	"node/talos": {[]string{"internal/foreign", "node", "node/api", "node/api/access", "node/talos/wire", "upgrade/attempt",
		"upgrade/progress", "upgrade/versions"}, "another API beside Pawl's, over the same service"},
	"node/talos/wire": {[]string{"node/pawlv1"}, "messages of that API; of Pawl's, what says the role of a method"},
	"node/watchdog":   {nil, "a device of the kernel; knows nothing of trials"},
	"node/hookdir":    {[]string{"internal/foreign", "internal/nearest", "node"}, "an operator's executables as hooks"},
	"node/pawlv1":     {nil, "the API: generated messages"},
	"node/client":     {[]string{"node/pawlv1"}, "the other end of the service"},
}

// library are the packages that an outsider can import.
var library = []string{"bootloader", "image", "kexec", "node", "partition", "upgrade"}

// rooms are the folders whose packages need no row: each may import what lies in one of its floors, and what lies in
// its own folder. The first that fits counts.
var rooms = []struct {
	folder string
	floors []string
	why    string
}{
	{"internal/lab", []string{""}, "what proves Pawl may use everything"},
	{"internal/harness", slices.Concat(library, []string{"examples/os"}),
		"machines and servers for tests: they stand on the library, and the laboratories on them"},
	{"examples", library, "examples use what an outsider can use"},
	{"cmd", slices.Concat(library, []string{"internal/buildinfo", "internal/bytesize", "internal/certs", "internal/commandline",
		"internal/contexts", "internal/enrol", "internal/nearest", "internal/pawld", "internal/redact", "internal/show",
		"internal/terminal", "internal/verbs"}), "commands use nothing that only tests need"},
}

// within reports whether a package is that folder, or lies in it; everything lies in "".
func within(pkg, folder string) bool {
	return folder == "" || pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

func TestArrowsPointDown(t *testing.T) {
	used := map[[2]string]bool{} // which package imports which; "" for that it is there
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
		rule, listed := allowed[pkg]
		may := func(dep string) bool { return slices.Contains(rule.imports, dep) }
		for _, r := range rooms {
			if within(pkg, r.folder) {
				rule.why = r.why
				may = func(dep string) bool {
					in := func(folder string) bool { return within(dep, folder) }
					return in(r.folder) || slices.ContainsFunc(r.floors, in)
				}
				break
			}
		}
		used[[2]string{pkg, ""}] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if dep, ours := strings.CutPrefix(name, module); ours {
				used[[2]string{pkg, dep}] = true
				if !may(dep) {
					t.Errorf("%s imports %s, which the table does not allow (%s: %s)", file, dep, pkg, rule.why)
				}
			}
			starts := pkg == "node/hookdir" ||
				pkg == "image/pack/grubcore" // what an operator put there; GRUB's own programs, when packing
			if listed && (name == "C" || name == "os/exec" && !starts) {
				t.Errorf("%s imports %s: the library has no cgo and starts no program", file, name)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for pkg, rule := range allowed {
		if !used[[2]string{pkg, ""}] {
			t.Errorf("the table lists %s, which is not there", pkg)
		}
		for _, dep := range rule.imports {
			if !used[[2]string{pkg, dep}] {
				t.Errorf("the table lets %s import %s, which it does not", pkg, dep)
			}
		}
	}
}
