package pstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/pstore"
)

var when = time.Unix(1795648260, 0)

// put writes records as the kernel shows them.
func put(t *testing.T, dir string, at time.Time, records map[string]string) {
	t.Helper()
	for name, text := range records {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		require.NoError(t, os.Chtimes(path, at, at))
	}
}

// Linux 6.1, efi_pstore in QEMU: names and shape of a panic's first records.
func TestPartsOfADumpArePutTogether(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, when, map[string]string{
		"dmesg-efi-179564826001001": "Panic#1 Part1\n<4>[    2.833926]  </TASK>\n<0>[    2.834312] Kernel Offset: " +
			"0x17a00000\n",
		"dmesg-efi-179564826002001": "Panic#1 Part2\n<6>[    2.828404] sysrq: Trigger a crash\n<0>[    2.830358] " +
			"Kernel panic - not syncing: sysrq triggered crash",
		"dmesg-efi-179564826003001": "Panic#1 Part3\n<5>[    1.500000] pawl: boot b2 runs slot B, version 2.1.0\n",
	})
	put(t, dir, when.Add(-time.Hour), map[string]string{
		"dmesg-efi_pstore-179564466001001": "Oops#1 Part1\n<4>[   77.5] BUG: unable to handle\n",
		"dmesg-ramoops-0": "Panic#1 Part1\n[   12.000001][    T1] Kernel panic - not syncing: " +
			"Attempted to kill init! exitcode=0x00000100\n",
		"console-ramoops-0":               "not a dump",
		"dmesg-efi-179564466002001.enc.z": "\x78\x9c",
		"dmesg-erst-6200000000000000":     "not a header\nPanic#1 Part1\n",
	})
	dumps, err := pstore.Dir(dir).Read()
	require.NoError(t, err)
	require.Len(t, dumps, 3)
	require.ElementsMatch(t, []string{"Oops", "Panic"}, []string{dumps[0].Kind, dumps[1].Kind})
	d := dumps[2]
	require.Equal(t, []string{
		"[    1.500000] pawl: boot b2 runs slot B, version 2.1.0", "[    2.828404] sysrq: Trigger a crash",
		"[    2.830358] Kernel panic - not syncing: sysrq triggered crash", "[    2.833926]  </TASK>",
		"[    2.834312] Kernel Offset: 0x17a00000",
	}, d.Lines())
	require.Equal(t, "sysrq triggered crash", d.Panic())
	booted, ok := d.Booted()
	require.True(t, ok)
	require.WithinDuration(t, when.Add(-2834*time.Millisecond), booted, 10*time.Millisecond)
	require.Len(t, d.ID, 8)

	require.NoError(t, pstore.Dir(dir).Remove(d))
	require.NoError(t, pstore.Dir(dir).Remove(d), "gone already")
	left, err := pstore.Dir(dir).Read()
	require.NoError(t, err)
	require.Equal(t, dumps[:2], left)
	for _, d := range left {
		require.NoError(t, pstore.Dir(dir).Remove(d))
	}
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 3, "what is not understood is left alone")
}

func TestTwoPanicsInTheSameNamesAreTwoDumps(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, when, map[string]string{"dmesg-efi-1": "Panic#1 Part1\na\n", "dmesg-efi-2": "Panic#1 Part2\nb\n"})
	put(t, dir, when.Add(15*time.Second), map[string]string{"dmesg-efi-3": "Panic#1 Part1\nc\n",
		"dmesg-efi-4": "Panic#2 Part1\nd\n"})
	dumps, err := pstore.Dir(dir).Read()
	require.NoError(t, err)
	require.Len(t, dumps, 3)
	require.Equal(t, "b\na\n", dumps[0].Text)
	ids := map[string]bool{}
	for _, d := range dumps {
		ids[d.ID] = true
	}
	require.Len(t, ids, 3)
	put(t, dir, when, map[string]string{"dmesg-efi-1": "Panic#1 Part1\nA\n"}) // ramoops uses its names again
	again, err := pstore.Dir(dir).Read()
	require.NoError(t, err)
	require.NotEqual(t, dumps[0].ID, again[0].ID)
}

func TestNothingIsKept(t *testing.T) {
	for _, dir := range []pstore.Dir{"", pstore.Dir(filepath.Join(t.TempDir(), "none")), pstore.Dir(t.TempDir())} {
		dumps, err := dir.Read()
		require.NoError(t, err)
		require.Empty(t, dumps)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := pstore.Dir(file).Read()
	require.Error(t, err)
}

func TestALogWithoutTimesDoesNotSayWhenItsKernelBooted(t *testing.T) {
	_, ok := pstore.Dump{When: when, Text: "<0>Kernel panic - not syncing: x\n"}.Booted()
	require.False(t, ok)
}

func TestAnExcerptHoldsThePanicAndTheEnd(t *testing.T) {
	panicked := "[    3.0] Kernel panic - not syncing: VFS: Unable to mount root fs"
	text := strings.Repeat("<6>[    1.0] before\n", 100) + "<0>" + panicked + "\n" +
		strings.Repeat("<4>[    3.1] trace\n", 100) + "<4>[    3.2] \x1b[1mlast\xff\n"
	d := pstore.Dump{Text: text}
	for _, limit := range []int{200, 1000, 1 << 20} {
		e := d.Excerpt(limit)
		require.LessOrEqual(t, len(e), limit)
		require.Contains(t, e, panicked)
		require.True(t, strings.HasSuffix(e, "[    3.2] .[1mlast."), "%q", e[len(e)-30:])
	}
	require.True(t, strings.HasPrefix(d.Excerpt(200), panicked+"\n[...]\n[    3.1] trace\n"))
	require.Contains(t, d.Excerpt(1<<20), "before")
	require.NotContains(t, d.Excerpt(1<<20), "[...]")
	require.Len(t, d.Excerpt(10), 10, "never more than that")
	require.Empty(t, pstore.Dump{}.Excerpt(10))
}
