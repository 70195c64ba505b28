package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/virtual"
)

func TestWrongFlagsNameThemselvesAndTheNearestRightValue(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	before := b.content()
	two := f.reference("2.0.0", virtual.Spec{})
	for name, c := range map[string]struct{ line, says string }{
		"no tries": {"upgrade --image IMAGE --tries 0",
			"--tries 0: want 1 to 9; the nearest is 1"},
		"too many tries": {"plan --image IMAGE --tries 10",
			"--tries 10: want 1 to 9; the nearest is 9"},
		"fewer tries than none": {"upgrade --image IMAGE --tries -1",
			"--tries -1: want 1 to 9; the nearest is 1"},
		"tries that are no number": {"upgrade --image IMAGE --tries NaN", `invalid argument "NaN" for "--tries"`},
		"no attempts": {"upgrade --image IMAGE --attempts 0",
			"--attempts 0: want 1 to 100; the nearest is 1"},
		"attempts without end": {"plan --image IMAGE --attempts 999999999",
			"--attempts 999999999: want 1 to 100; the nearest is 100"},
		"a way to try that is none":     {"upgrade --image IMAGE --trial boot_next", "did you mean boot-next?"},
		"the same of a rollback":        {"rollback --trial oneshot", "did you mean one-shot?"},
		"an architecture by its other":  {"plan --image IMAGE --arch aarch64", `--arch "aarch64": Go names it arm64`},
		"an architecture that is none":  {"plan --image IMAGE --arch and64", "did you mean amd64?"},
		"an output that is none":        {"status --output jsn", "did you mean json?"},
		"an output of doctor":           {"doctor --output yaml", `--output "yaml": want text or json`},
		"a disk that is empty":          {"rollback --disk ''", "--disk is empty: leave it out, or say what it is"},
		"an image that is empty":        {"upgrade --image ''", "--image is empty"},
		"variables that are empty":      {"status --efivars ''", "--efivars is empty"},
		"variables that are not there":  {"status --efivars /gone", "--efivars: "},
		"an os-release that is no file": {"status --os-release /", "--os-release: "},
		"registries that are not there": {"plan --image IMAGE --registries /gone", "--registries: "},
		"a loader that is none": {"image --image IMAGE --output OUT --loader grub-efi",
			"did you mean grub-uefi?"},
		"a flag of another loader": {"image --image IMAGE --output OUT --active",
			"--active: it is for grub-bios"},
		"a size of nothing": {"image --image IMAGE --output OUT --size 0",
			`--size: size "0": want a number and K, M, G or T`},
		"a size below nothing":     {"image --image IMAGE --output OUT --size=-1G", `--size: size "-1G"`},
		"a size that is no number": {"image --image IMAGE --output OUT --size NaN", `--size: size "NaN"`},
		"a size beyond all": {"image --image IMAGE --output OUT --size 9999999T",
			`--size: size "9999999T"`},
		"a size in parts":              {"image --image IMAGE --output OUT --size 1.5G", `--size: size "1.5G"`},
		"a unit that is none":          {"image --image IMAGE --output OUT --size 4GiBB", `--size: size "4GiBB"`},
		"a partition that is needed":   {"disk wipe --partition META", "`installer meta reset` makes it empty"},
		"no partition":                 {"disk wipe --partition ''", "--partition is empty"},
		"a command that is not helped": {"help upgarde", `there is no command "upgarde"`},
		"a command below that is none": {"disk mend", `installer disk has no command "mend"`},
		"a flag that is none":          {"status --jsno", "unknown flag: --jsno (see installer status --help)"},
		"a flag without what it needs": {"status --output",
			"flag needs an argument: --output (see installer status --help)"},
		"an argument where there is one": {"upgrade IMAGE", "everything is a flag"},
	} {
		t.Run(name, func(t *testing.T) {
			fields := strings.Fields(strings.NewReplacer("IMAGE", two, "OUT",
				filepath.Join(t.TempDir(), "out")).Replace(c.line))
			args := fields[:1:1]
			if fields[0] == "disk" || fields[0] == "help" {
				args = fields[:2:2]
			}
			rest := fields[len(args):]
			if fields[0] != "image" && fields[0] != "help" && args[len(args)-1] != "mend" {
				args = append(args, b.machine()...)
			}
			for _, a := range rest { // the last of a flag counts
				args = append(args, strings.Trim(a, "'"))
			}
			code, out := run(t, args...)
			require.Equal(t, exitUsage, code, out)
			require.Contains(t, out, c.says)
		})
	}
	require.Equal(t, before, b.content(), "nothing was changed")
	code, out := run(t, "help", "disk", "wipe")
	require.Zero(t, code, out)
	require.Contains(t, out, "Make one partition look empty")
}

func TestVersion(t *testing.T) {
	status, out := run(t, "--version")
	require.Zero(t, status, out)
	require.Regexp(t, `^installer \S+, commit .*, date \S+, go\S+ \w+/\w+\n$`, out)
	status, out = run(t, "status", "--version")
	require.Equal(t, exitUsage, status)
	require.Contains(t, out, "unknown flag: --version")
}
