package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// upgraded arms version 2.0.0 and boots its trial.
func (b *box) upgraded(two string) {
	b.t.Helper()
	status, out := b.on("upgrade", "--image", two)
	require.Zero(b.t, status, out)
	out2 := b.boot()
	require.True(b.t, out2.Trial, "%s", out2)
	b.runs("2.0.0")
}

// fellBack has version 2.0.0 tried and given up, with a reason on record.
func (b *box) fellBack(two string) {
	b.t.Helper()
	b.upgraded(two)
	m := b.open("trial", "2.0.0")
	_, err := m.Started(b.t.Context())
	require.NoError(b.t, err)
	require.NoError(b.t, m.Failed(b.t.Context(), "check disk: no space"))
	require.NoError(b.t, m.Close())
	require.False(b.t, b.boot().Trial)
	b.runs("1.0.0")
	m = b.open("after", "1.0.0")
	boot, err := m.Started(b.t.Context())
	require.NoError(b.t, err)
	require.Equal(b.t, attempt.FellBack, boot.Attempt.Result)
	require.NoError(b.t, m.Close())
}

// remove takes a file out of the boot file system.
func (b *box) remove(path string) {
	b.t.Helper()
	raw, err := disk.Open(b.disk)
	require.NoError(b.t, err)
	layout, err := partition.Read(raw)
	require.NoError(b.t, err)
	p, err := layout.Find("EFI")
	require.NoError(b.t, err)
	boot, err := bootfs.Open(partition.Section(raw, p), bootfs.Options{})
	require.NoError(b.t, err)
	require.NoError(b.t, boot.Remove(path))
	require.NoError(b.t, raw.Close())
}

// In each of these states the command is refused with the reason and the way out, and neither the disk nor a variable
// changes.
func TestBadStates(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	three, older := f.reference("3.0.0", virtual.Spec{}), f.reference("0.9.0", virtual.Spec{})
	upgradeTo := func(ref string) []string { return []string{"upgrade", "--image", ref} }
	plain := func(name string) []string { return []string{name} }
	cases := []struct {
		name string
		make func(b *box)
		args []string
		code int
		says []string
	}{
		{"BootNext is armed by something else", func(b *box) {
			b.set(efivar.Global("BootNext"),
				efivar.EncodeNumbers(0x50))
		},
			upgradeTo(two), exitRefused, []string{"BootNext is set to Boot0050",
				"boot once, or delete that variable (efibootmgr --delete-bootnext)"}},
		{"a one-shot entry is armed by something else", func(b *box) {
			b.set(efivar.Loader("LoaderEntryOneShot"),
				efivar.EncodeString("windows.conf"))
		},
			upgradeTo(two), exitRefused, []string{`LoaderEntryOneShot is set to "windows.conf"`,
				"bootctl set-oneshot"}},
		{"rollback beside an armed BootNext", func(b *box) {
			b.set(efivar.Global("BootNext"),
				efivar.EncodeNumbers(0x50))
		},
			plain("rollback"), exitRefused, []string{"BootNext is set to Boot0050", "delete that variable"}},
		{"no directory of variables", func(b *box) { b.vars += ".gone" },
			upgradeTo(two), exitUsage, []string{"--efivars", ".gone: no such file"}},
		{"no variables", func(b *box) { b.writeVars(nil) },
			upgradeTo(two), exitRefused, []string{"no boot reported a slot", "there are none on this machine",
				"mount efivarfs writable"}},
		{"booted from another disk", func(b *box) {
			b.set(efivar.Loader("LoaderDevicePartUUID"), efivar.EncodeString("11111111-2222-3333-4444-555555555555"))
		}, upgradeTo(two), exitRefused, []string{"no boot reported a slot of this disk",
			`started from partition "11111111-2222`, "see that --disk"}},
		{"another version runs than the slot holds", func(b *box) { b.runs("0.9.0") },
			upgradeTo(two), exitRefused, []string{"version 0.9.0 is running, slot A holds 1.0.0",
				"reboot, then try again"}},
		{"no os-release", func(b *box) { b.osr += ".gone" }, upgradeTo(two), exitUsage,
			[]string{"--os-release", ".gone: no such file"}},
		{"os-release without a version", func(b *box) {
			require.NoError(b.t, os.WriteFile(b.osr, []byte("ID=x\n"),
				0o600))
		},
			upgradeTo(two), exitUsage, []string{"--os-release", "has no VERSION_ID"}},
		{"a trial runs", func(b *box) { b.upgraded(two) },
			upgradeTo(three), exitRefused, []string{"slot B runs and A is the default", "on trial",
				"confirm it, or reboot to fall back"}},
		{"the image runs already", func(*box) {}, upgradeTo(f.one), exitRefused,
			[]string{"(1.0.0)", "already holds this image", "--force"}},
		{"the image failed its trial before", func(b *box) { b.fellBack(two) },
			upgradeTo(two), exitRefused, []string{"(2.0.0)", "check disk: no space", "failed its trial before",
				"use another version, or force"}},
		{"a version that the policy does not let follow", func(b *box) { b.runs("1.0.0") }, upgradeTo(older),
			exitRefused, []string{"0.9.0 is lower than 1.0.0, which runs", "or force"}},
		{"nothing to roll back to", func(*box) {}, plain("rollback"), exitRefused,
			[]string{"slot B is empty", "upgrade to the version that is wanted"}},
		{"confirm where nothing of this disk runs", func(b *box) { b.writeVars(nil) }, plain("confirm"), exitRefused,
			[]string{"no boot reported a slot", "mount efivarfs writable"}},
		{"no configuration of the loader", func(b *box) { b.remove("loader/loader.conf") },
			upgradeTo(two), exitDisk, []string{"none of systemd-boot", "name the disk that the machine boots from"}},
		{"the running slot's manifest is gone", func(b *box) { b.upgraded(two); b.remove("EFI/pawl/B/manifest.json") },
			plain("confirm"), exitRefused, []string{"slot B is partial: no manifest", "reboot to fall back"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := f.box(t)
			c.make(b)
			before := b.content()
			vars := map[string][]byte{}
			if _, err := os.Stat(b.vars); err == nil {
				vars = b.values()
			}
			status, out := b.on(c.args[0], c.args[1:]...)
			t.Log(out)
			require.Equal(t, c.code, status, out)
			for _, say := range c.says {
				require.Contains(t, out, say)
			}
			if strings.HasSuffix(b.vars, ".gone") {
				b.vars = strings.TrimSuffix(b.vars, ".gone")
				vars = b.values()
			}
			b.unchanged(before, vars)
		})
	}
}

// The running system's os-release also says how many minor versions may be taken at once; that file is the one that was
// named.
func TestWindowOfThePolicy(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	far := f.reference("1.3.0", virtual.Spec{})
	status, out := b.on("plan", "--image", far)
	require.Equal(t, exitRefused, status, out)
	require.Contains(t, out, "1.0.0 to 1.3.0 is 3 minor versions")
	require.NoError(t, os.WriteFile(b.osr, []byte("VERSION_ID=1.0.0\nPAWL_MINOR_STEPS=3\n"), 0o600))
	status, out = b.on("plan", "--image", far)
	require.Zero(t, status, out)
}

// What a plan says beforehand is what an upgrade then says: the same refusal, the same code.
func TestPlanRefusesWhatUpgradeRefuses(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	two := f.reference("2.0.0", virtual.Spec{})
	for name, c := range map[string]struct {
		image string
		make  func(b *box)
	}{
		"same image":  {f.one, func(*box) {}},
		"too large":   {f.reference("3.0.0", virtual.Spec{UKI: make([]byte, 60<<20)}), func(*box) {}},
		"known bad":   {two, func(b *box) { b.fellBack(two) }},
		"on trial":    {two, func(b *box) { b.upgraded(two) }},
		"foreign":     {two, func(b *box) { b.set(efivar.Global("BootNext"), efivar.EncodeNumbers(0x50)) }},
		"nothing bad": {two, func(*box) {}},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.box(t)
			c.make(b)
			planned, plan := b.on("plan", "--image", c.image)
			did, out := b.on("upgrade", "--image", c.image)
			require.Equal(t, did, planned, "%s\n%s", plan, out)
			if did != 0 {
				_, reason, _ := strings.Cut(plan, c.image)
				require.Contains(t, out, reason)
			}
		})
	}
}

// An image that leaves the target no room for its manifest is refused while nothing has changed. (It was not: the
// upgrade ran full once the image was written.)
func TestImageThatFillsTheTarget(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	b := f.box(t)
	m := b.open("boot", "1.0.0")
	free, err := m.Boot.Free("EFI/pawl/B")
	require.NoError(t, err)
	require.NoError(t, m.Close())
	for _, c := range []struct {
		size int64
		code int
	}{{free, exitImage}, {free - 512, exitImage}, {free - 64<<10, 0}} {
		b := f.box(t)
		vars := b.values()
		asset := map[string][]byte{"usr/install/amd64/vmlinuz.efi": make([]byte, c.size)}
		status, out := b.on("upgrade", "--force", "--image", f.foreign("full", asset))
		require.Equal(t, c.code, status, out)
		if c.code != 0 {
			b.unchanged(f.disk, vars)
		}
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	there := filepath.Join(t.TempDir(), "there")
	require.NoError(t, os.WriteFile(there, nil, 0o600))
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", 0, "Usage:"},
		{"--help", 0, "Usage:"},
		{"bogus", exitUsage, `installer has no command "bogus" (see installer --help)`},
		{"meta", 0, "Usage:"},
		{"meta bogus", exitUsage, `installer meta has no command "bogus"`},
		{"upgrade", exitUsage, `"image" not set (see installer upgrade --help)`},
		{"install --image x", exitUsage, `"disk" not set (see installer install --help)`},
		{"image --image x", exitUsage, `"output" not set (see installer image --help)`},
		{"pack", exitUsage, `"kernel", "loader", "os-release", "output" not set (see installer pack --help)`},
		{"upgrade --bogus", exitUsage, "unknown flag: --bogus"},
		{"upgrade --image x y", exitUsage, `argument "y": everything is a flag (see installer upgrade --help)`},
		{"status --output xml --disk " + there, exitUsage, `--output "xml": want text or json`},
		{"status --efivars " + t.TempDir(), exitUsage, "LoaderDevicePartUUID"},
		{"status --efivars " + t.TempDir(), exitUsage, "name it with --disk"},
		{"status --efivars " + there, exitUsage, "is no directory"},
		{"upgrade --image BAD_REF@ --disk " + there, exitUsage, "BAD_REF@"},
		{"upgrade --image oci: --disk " + there, exitUsage, "oci:"},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, out := run(t, strings.Fields(c.args)...)
			require.Equal(t, c.code, status, out)
			require.Contains(t, out, c.says)
		})
	}
}
