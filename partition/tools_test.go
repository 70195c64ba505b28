//go:build tools

package partition

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/partition/disktest"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return string(out)
}

// saved is a disk as a file, where the tools can see it.
func saved(t *testing.T, d *disktest.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(path, content(t, d), 0o600))
	return path
}

// sgdisk finds nothing wrong, and sfdisk lists what we list: after a first table, partitions added to a foreign one,
// a recovery and a growth.
func TestForeignToolsAgree(t *testing.T) {
	more := []Spec{{Label: "Zusätzlich", Type: TypeLinux, GUID: uuid.New(), Size: mib,
		Attributes: AttrNoAutomount | AttrRequired}}
	disks, before := map[string]*disktest.Disk{}, map[string]string{}
	first, l := installed(t, 64*mib, 512)
	disks["first table"] = first
	for _, name := range []string{"sgdisk", "sgdisk-256", "sgdisk-moved", "sfdisk"} {
		d := golden(t, name)
		before["added to "+name] = warnings(t, saved(t, d)) // of what its maker did
		now, err := Read(d)
		require.NoError(t, err)
		require.NoError(t, Apply(d, planned(t, &now, d.Size(), 512, more)))
		disks["added to "+name] = d
	}
	for name, sector := range map[string]int64{"primary": 1, "backup": first.Size()/512 - 1} {
		d := first.Clone()
		_, _ = d.WriteAt(make([]byte, 512), sector*512)
		now, err := Read(d)
		require.NoError(t, err)
		require.NoError(t, Apply(d, now))
		disks["recovered "+name] = d
	}
	grown := first.Resized(100 * mib)
	now, err := Grow(l, grown.Size())
	require.NoError(t, err)
	require.NoError(t, Apply(grown, now))
	disks["grown"] = grown

	for name, d := range disks {
		t.Run(name, func(t *testing.T) {
			path := saved(t, d)
			require.Equal(t, before[name], warnings(t, path))
			l, err := Read(d)
			require.NoError(t, err)
			require.Equal(t, sfdiskEntries(l), sfdiskDump(t, path))
		})
	}
}

type row struct{ first, size, typ, guid string }

var dumped = regexp.MustCompile(`start= *(\d+), size= *(\d+), type=([0-9A-F-]+), uuid=([0-9A-F-]+)`)

func sfdiskDump(t *testing.T, path string) (rows []row) {
	for _, m := range dumped.FindAllStringSubmatch(tool(t, "sfdisk", "--dump", path), -1) {
		rows = append(rows, row{m[1], m[2], strings.ToLower(m[3]), strings.ToLower(m[4])})
	}
	return rows
}

func sfdiskEntries(l Layout) (rows []row) {
	for _, p := range l.Partitions {
		rows = append(rows, row{strconv.FormatInt(p.First, 10), strconv.FormatInt(p.Sectors, 10), p.Type.String(),
			p.GUID.String()})
	}
	return rows
}

// warnings is what sgdisk says before its "No problems found", which comes after warnings too.
func warnings(t *testing.T, path string) string {
	t.Helper()
	said, _, fine := strings.Cut(tool(t, "sgdisk", "-v", path), "No problems found")
	require.True(t, fine, said)
	return strings.TrimSpace(said)
}

// sgdisk notices what is wrong, so that its silence means something.
func TestSgdiskFindsProblemsWhereThereAreSome(t *testing.T) {
	d, _ := installed(t, 64*mib, 512)
	_, _ = d.WriteAt(make([]byte, 512), d.Size()-512)
	require.Contains(t, warnings(t, saved(t, d)), "Warning! One or more CRCs don't match")
}
