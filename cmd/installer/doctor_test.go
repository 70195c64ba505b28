package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	status, out := b.on("upgrade", "--image", f.reference("2.0.0", virtual.Spec{}))
	require.Zero(t, status, out)
	before, vars := b.content(), b.values()

	status, out = b.on("doctor")
	require.Zero(t, status, out)
	require.Contains(t, out, "boot 1: slot B, 2.0.0, trial: LoaderEntryOneShot names slot B; used up by this boot.\n"+
		"boot 2: slot A, 1.0.0: loader.conf names slot A.\nboot 3: slot A, 1.0.0: loader.conf names slot A.\n"+
		"assumed: Nobody confirms slot B during its trial.\n")
	require.Contains(t, out, "fine: slot B: Version 2.0.0 is complete: 2 files read, and their digests match.\n")
	require.True(t, strings.HasSuffix(out, "\nresult: fine\n"), out)

	status, out = b.on("doctor", "--output", "json")
	require.Zero(t, status, out)
	golden, err := os.ReadFile("testdata/doctor.json")
	require.NoError(t, err)
	require.Equal(t, string(golden), regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(out, "DIGEST"))
	b.unchanged(before, vars)
	require.NoError(t, os.Chmod(b.disk, 0o444))
	status, out = b.on("doctor")
	require.Zero(t, status, "a disk that cannot be written: %s", out)
	require.NoError(t, os.Chmod(b.disk, 0o644))

	out2, _ := b.model()
	require.Equal(t, bootloader.B, out2.Slot, "what was predicted")
}

func TestDoctorOfADiskImage(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	b.set(efivar.Loader("LoaderEntryDefault"), efivar.EncodeString("other"))
	status, out := run(t, "doctor", "--disk", b.disk)
	require.Zero(t, status, out)
	require.Contains(t, out, "boot 3: slot A, 1.0.0: loader.conf names slot A.\n")
	require.Contains(t, out, "assumed: The firmware holds no variables, as on a machine that was never started.\n")
	require.Contains(t, out, "result: fine\n")
}

// The exit code tells broken from the rest, and each finding says what to do.
func TestDoctorsExitCodes(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	for name, c := range map[string]struct {
		damage func(*box)
		code   int
		says   []string
	}{
		"degraded": {func(b *box) { b.patch(512, make([]byte, 512)) }, 0,
			[]string{"degraded: partition table: The primary copy is damaged",
				"Do: repair it, while nothing of the disk is in use (`installer disk repair`).",
				"result: degraded"}},
		"broken": {func(b *box) { b.remove(bootloader.A.File(bootloader.UKIFile)) }, exitBroken,
			[]string{"boot 1: nothing runs, systemd-boot finds no entry", "broken: slot A: It is partial",
				"result: broken", "installer: something is broken\ndo: see what it says"}},
		"cannot be worked on": {func(b *box) {
			b.patch(512, make([]byte, 512))
			b.patch(virtual.Size-512,
				make([]byte, 512))
		}, exitBroken,
			[]string{"broken: partition table: ", "boot 1: nothing runs, the firmware ends in its shell"}},
		"no disk":      {func(b *box) { require.NoError(b.t, os.Remove(b.disk)) }, exitUsage, []string{"--disk"}},
		"no disk's":    {func(b *box) { b.disk = b.vars }, exitDisk, []string{"it is a directory"}},
		"no variables": {func(b *box) { require.NoError(b.t, os.RemoveAll(b.vars)) }, exitUsage, []string{"--efivars"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := f.box(t)
			c.damage(b)
			status, out := b.on("doctor")
			require.Equal(t, c.code, status, out)
			for _, text := range c.says {
				require.Contains(t, out, text)
			}
		})
	}
	status, out := f.box(t).on("doctor", "--output", "xml")
	require.Equal(t, exitUsage, status, out)
}
