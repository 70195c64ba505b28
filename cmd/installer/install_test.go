package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// small is a boot file system for a small disk.
const small = "label=EFI,size=64MiB"

func TestARangeOfSizes(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for text, want := range map[string][2]int64{
		"": {}, ">=20GiB": {20 * gib, 0}, ">= 20G": {20 * gib, 0}, "<=1T": {0, 1024 * gib},
		"1GiB..2GiB": {gib, 2 * gib}, "512": {512, 512},
	} {
		least, most, err := parseRange(text)
		require.NoError(t, err, text)
		require.Equal(t, want, [2]int64{least, most}, text)
	}
	for _, text := range []string{">20GiB", ">=", "1GiB..", "..1GiB", "large", "1GiB...2GiB"} {
		_, _, err := parseRange(text)
		require.Error(t, err, text)
	}
}

// The disk is named or described; what describes none says of each disk why it is none.
func TestTheDiskOfAnInstallIsNamedOrDescribed(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	for line, c := range map[string]struct {
		code int
		says string
	}{
		"":                                  {exitUsage, `"disk" not set`},
		"--disk /dev/null --disk-bus nvme":  {exitUsage, "--disk names the disk: leave out what describes another"},
		"--disk-bus sata":                   {exitUsage, `did you mean ata?`},
		"--disk-size 12parsecs":             {exitUsage, "--disk-size: size"},
		"--disk-size 2GiB..1GiB":            {exitUsage, "fits no disk"},
		"--disk-model [":                    {exitUsage, `pattern "["`},
		"--disk-serial no-disk-is-so-named": {exitDisk, "no disk fits"},
	} {
		status, out := run(t, append([]string{"install", "--image", f.one}, strings.Fields(line)...)...)
		require.Equal(t, c.code, status, out)
		require.Contains(t, out, c.says, line)
	}
	status, out := run(t, "disk", "list")
	require.Zero(t, status, out)
}

// A dry run says what is on the disk, what would be made of it, and writes nothing; and it refuses what is refused.
func TestADryRunOfAnInstall(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	require.NoError(t, os.Truncate(b.disk, 224<<20))
	before := b.content()
	status, out := run(t, "install", "--image", f.one, "--disk", b.disk, "--dry-run", "--partition", small)
	require.Equal(t, exitRefused, status, out)
	require.Contains(t, out, `partition 1 (EFI), 40 MiB, a FAT file system "EFI"; partition 2 (BIOS)`)
	status, out = run(t, "install", "--image", f.one, "--disk", b.disk, "--dry-run", "--force", "--zero",
		"--partition", small)
	require.Zero(t, status, out)
	for _, text := range []string{`lost: partition 1 (EFI), 40 MiB, a FAT file system "EFI"`, "zeros: over the whole disk",
		"version 1.0.0 (sha256:", "EPHEMERAL", "slot A: ", "room: a slot can hold", "nothing was written"} {
		require.Contains(t, out, text)
	}
	require.True(t, bytes.Equal(before, b.content()))
	status, out = run(t, "install", "--image", f.reference("2.0.0", virtual.Spec{Size: 40 << 20}), "--disk", b.disk,
		"--dry-run", "--force", "--partition", small)
	require.Equal(t, exitImage, status, out)
}

// What is said of an install may be in a file: the disk, what is added, and that its old content may go.
func TestAnInstallFromAProfile(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	require.NoError(t, os.Truncate(b.disk, 224<<20))
	b.patch(200<<20, []byte("somebody's diary"))
	profile := filepath.Join(t.TempDir(), "install.yaml")
	require.NoError(t, os.WriteFile(profile, []byte("image: "+f.one+
		"\nforce: true\nzero: true\nmeta: {0x0a: hello}\npartition: [{label: EFI, size: 64MiB}]\n"),
		0o644))
	status, out := run(t, "install", "--profile", profile, "--disk", b.disk)
	require.Zero(t, status, out)
	require.Contains(t, out, "zero: done")
	b.writeVars(nil)
	boots, _ := b.model()
	require.Equal(t, bootloader.A, boots.Slot, "%s", boots)
	require.NotContains(t, string(b.content()), "somebody's diary")
	require.Contains(t, string(b.content()), "hello")

	require.NoError(t, os.WriteFile(profile, []byte("image: "+f.one+"\ndisk-buss: nvme\n"), 0o644))
	status, out = run(t, "install", "--profile", profile)
	require.Equal(t, exitUsage, status, out)
	require.Contains(t, out, "did you mean disk-bus?")
}
