package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// lookedAt is a disk that must not be written to.
type lookedAt struct {
	upgrade.Device
	t *testing.T
}

func (l lookedAt) WriteAt([]byte, int64) (int, error) {
	l.t.Error("the disk was written to")
	return 0, errors.New("read-only")
}

func (l lookedAt) Sync() error {
	l.t.Error("the disk was flushed")
	return nil
}

// diagnose looks at the machine; neither its disk nor its variables may change.
func (r *rig) diagnose() doctor.Diagnosis {
	r.t.Helper()
	before, writes := r.Vars.Values(), r.Vars.BeforeWrite
	r.Vars.BeforeWrite = func(name efivar.Name, _ []byte) error {
		r.t.Errorf("variable %s was written", name.Name)
		return errors.New("read-only")
	}
	version, err := r.Version()
	if err != nil {
		version = "x" // of a disk on which nothing runs
	}
	d, err := doctor.DiagnoseDevice(r.t.Context(), lookedAt{r.Disk, r.t}, upgrade.OpenOptions{Loaders: loaders.All(),
		Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: version})
	require.NoError(r.t, err)
	require.True(r.t, maps.EqualFunc(before, r.Vars.Values(), slices.Equal))
	r.Vars.BeforeWrite = writes
	return d
}

// found are the findings that are worse than fine, a line each, with the severity of all in front.
func found(d doctor.Diagnosis) (lines []string) {
	lines = append(lines, string(d.Severity()))
	for _, f := range d.Findings {
		if f.Severity != doctor.Fine {
			lines = append(lines, fmt.Sprintf("%s, %s: %s", f.Severity, f.About, f.Text))
		}
	}
	return lines
}

// slots are the slots that are predicted, "!" for a trial and "-" for none.
func slots(d doctor.Diagnosis) (text string) {
	for _, b := range d.Boots {
		text += strings.Replace(string(b.Slot)+"-", string(bootloader.A)+"-", "A", 1)
		text = strings.Replace(text, "B-", "B", 1)
		if b.Trial {
			text += "!"
		}
	}
	return text
}

// life is each state that a sound machine goes through.
func TestDiagnosisOfASoundMachine(t *testing.T) {
	for _, loader := range loaders.Names() {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			require.Equal(t, []string{"fine"}, found(r.diagnose()))
			require.Equal(t, "AAA", slots(r.diagnose()))
			require.Empty(t, r.diagnose().Assumes)
			for _, f := range r.diagnose().Findings {
				require.NotEmpty(t, f.About)
				require.Regexp(t, `^([A-Z]|systemd-boot ).*\.$`, f.Text)
			}

			_, err := r.Upgrade(t.Context(), r.version("2.0.0"), upgrade.Options{})
			require.NoError(t, err)
			d := r.diagnose()
			require.Equal(t, []string{"fine"}, found(d))
			require.Equal(t, "B!AA", slots(d))
			require.Equal(t, []string{"Nobody confirms slot B during its trial."}, d.Assumes)

			r.boots(bootloader.B, "2.0.0")
			d = r.diagnose()
			require.Equal(t, []string{"fine"}, found(d))
			require.Equal(t, "AAA", slots(d))
			require.Equal(t, []string{"Nobody confirms slot B, which runs on trial, before the next boot."}, d.Assumes)

			r.confirm()
			d = r.diagnose()
			require.Equal(t, []string{"fine"}, found(d))
			require.Equal(t, "BBB", slots(d))
		})
	}
}

func TestDiagnosisOfAMachineThatWasNeverStarted(t *testing.T) {
	for _, loader := range loaders.Names() {
		r := onLoader(t, loader)
		r.Vars = efivar.NewMemory()
		r.Last.Cmdline = ""
		d := r.diagnose()
		require.Equal(t, []string{"fine"}, found(d), loader)
		require.Equal(t, "AAA", slots(d), loader)
	}
}

func onLoader(t *testing.T, loader string) *rig {
	if loader == loaders.SystemdBoot {
		return start(t)
	}
	return startGRUB(t, loader)
}

// Each thing that can be wrong, what is said of it, and what boots.
func TestFindings(t *testing.T) {
	for name, c := range map[string]struct {
		loader string
		armed  bool
		damage func(*rig)
		slots  string
		want   []string // regular expressions, after the worst severity
	}{
		"the first partition table": {damage: func(r *rig) { r.junk(512, 1) }, slots: "AAA",
			want: []string{"degraded", `degraded, partition table: The primary copy is damaged .*recovered from the backup copy\.`}},
		"the second partition table": {damage: func(r *rig) { r.junk(r.Disk.Size()-512, 1) }, slots: "AAA",
			want: []string{"degraded", `degraded, partition table: The backup copy is damaged`}},
		"both partition tables": {damage: func(r *rig) { r.junk(512, 1); r.junk(r.Disk.Size()-512, 1) }, slots: "---",
			want: []string{"broken", `broken, partition table: .*`,
				`broken, machine: The machine cannot be worked on: `,
				`broken, boots: Boot 1: nothing runs: the firmware ends in its shell\.`}},
		"the boot file system's first sector": {damage: func(r *rig) { off, _ := r.at("EFI"); r.junk(off, 1) },
			slots: "---",
			want:  []string{"broken", `broken, machine: The machine cannot be worked on: open machine: open boot file system: boot sector`, `broken, boots: Boot 1: nothing runs: the firmware ends in its shell\.`}},
		"the second table of the boot file system": {damage: func(r *rig) {
			off,
				_ := r.at("EFI")
			r.junk(off+secondTable(r), 1)
		}, slots: "AAA",
			want: []string{"degraded", `degraded, boot file system: 1 sectors of the two tables differ or cannot be read\.`}},
		"a mark of another system": {damage: func(r *rig) {
			off, _ := r.at("EFI")
			b := make([]byte, 512)
			_, _ = r.Disk.ReadAt(b, off)
			b[65] |= 1
			_, _ = r.Disk.WriteAt(b, off)
		}, slots: "AAA", want: []string{"degraded", `degraded, boot file system: It is marked as in use`}},
		"META, one copy": {damage: func(r *rig) { off, _ := r.at("META"); r.junk(off, 1) }, slots: "AAA",
			want: []string{"degraded", `degraded, META: Copy 1 of META is damaged\.`}},
		"META, both copies": {damage: func(r *rig) {
			off, _ := r.at("META")
			r.junk(off, 1)
			r.junk(off+meta.CopySize,
				1)
		}, slots: "AAA",
			want: []string{"degraded", `degraded, META: Check META: .*both copies of META are damaged. The machine boots, confirms and falls back without it\.`, `degraded, upgrade: An upgrade would be refused: open META: `}},
		"META, a value that is no attempt": {damage: func(r *rig) {
			m, err := r.Open()
			require.NoError(r.t, err)
			s, err := meta.Open(m.Meta)
			require.NoError(r.t, err)
			require.NoError(r.t, s.Set(meta.TagAttempt, []byte("no JSON")))
		}, slots: "AAA", want: []string{"degraded", `degraded, META: Read META tag 0x50: it is not as Pawl writes it`,
			`degraded, upgrade: An upgrade would be refused: read META tag 0x50`}},

		"the default's UKI, one byte": {damage: func(r *rig) { r.flip(bootloader.A.File(bootloader.UKIFile)) },
			slots: "AAA",
			want:  []string{"broken", `broken, slot A: Version 1.0.0 is damaged: os.efi has SHA-256 .*, its manifest says `, `broken, boots: Boot 1: slot A starts, and its os.efi is not what its manifest says\.`}},
		"the default's UKI, cut short": {damage: func(r *rig) { r.shorten(bootloader.A.File(bootloader.UKIFile)) },
			slots: "---",
			want: []string{"broken", `broken, slot A: It is partial: os.efi has .* bytes, its manifest says `,
				`broken, boots: Boot 1: nothing runs: `,
				`degraded, upgrade: An upgrade would be refused: .*slot A is not complete`}},
		"the default's manifest": {damage: func(r *rig) {
			require.NoError(r.t,
				r.bootFiles().Remove(bootloader.A.File(bootloader.ManifestFile)))
		}, slots: "AAA",
			want: []string{"broken", `broken, slot A: It is partial: no manifest\.`,
				`broken, boots: Boot 1: slot A starts, and it is partial: no manifest\.`,
				`degraded, upgrade: An upgrade would be refused: .*slot A is not complete`}},
		"the trial's UKI, one byte": {armed: true,
			damage: func(r *rig) { r.flip(bootloader.B.File(bootloader.UKIFile)) }, slots: "B!AA",
			want: []string{"broken", `degraded, slot B: Version 2.0.0 is damaged: os.efi has SHA-256`,
				`broken, boots: Boot 1: slot B starts, and its os.efi is not what its manifest says\.`}},
		"the trial's UKI, cut short": {armed: true,
			damage: func(r *rig) { r.shorten(bootloader.B.File(bootloader.UKIFile)) }, slots: "AAA",
			want: []string{"degraded", `degraded, slot B: It is partial: os.efi has`}},
		"the loader is gone": {damage: func(r *rig) {
			require.NoError(r.t,
				r.bootFiles().Remove("EFI/BOOT/BOOTX64.EFI"))
		}, slots: "---",
			want: []string{"broken", `degraded, loader: The loader of version 1.0.0 \(systemd-boot 252.39-1~deb12u2\) differs from the one that is installed \(nothing that can be read `, `broken, boots: Boot 1: nothing runs: the firmware ends in its shell\.`, `degraded, upgrade: An upgrade would be refused: a trial could not come back, because the loader cannot be found`}},
		"the files of two loaders": {damage: func(r *rig) {
			f := r.bootFiles()
			require.NoError(r.t, f.Mkdir("grub"))
			require.NoError(r.t, f.WriteFile("grub/grub.cfg", []byte("x")))
		}, slots: "AAA", want: []string{"broken", `broken, machine: The machine cannot be worked on: open machine: find the loader: .*are both there`}},
		"loader.conf": {damage: func(r *rig) { r.overwrite("loader/loader.conf") }, slots: "AAA",
			want: []string{"degraded", `degraded, loader: loader.conf is damaged or names a slot that is not bootable; the order of the entries decides\.`}},
		"loader.conf cannot be read": {damage: func(r *rig) { r.spoil("loader/loader.conf") }, slots: "AAA",
			want: []string{"degraded", `degraded, loader: loader/loader.conf cannot be read: `,
				`degraded, loader: loader.conf is damaged or names`}},
		"the default's entry": {damage: func(r *rig) { r.overwrite("loader/entries/pawl-a.conf") }, slots: "---",
			want: []string{"broken", `degraded, loader: loader/entries/pawl-a.conf is damaged; slot A is not bootable\.`, `degraded, loader: loader.conf is damaged or names`, `broken, boots: Boot 1: nothing runs: systemd-boot finds no entry`}},
		"the other entry": {armed: true, damage: func(r *rig) { r.overwrite("loader/entries/pawl-b.conf") },
			slots: "AAA",
			want:  []string{"degraded", `degraded, loader: loader/entries/pawl-b.conf is damaged; slot B is not bootable\.`, `degraded, loader: LoaderEntryOneShot names slot B, which is not bootable; the loader ignores it\.`}},

		"BootNext": {damage: func(r *rig) { r.numbers("BootNext", 1) }, slots: "AAA",
			want: []string{"degraded", `degraded, upgrade: An upgrade would be refused: BootNext is set to `}},
		"a one-shot that is not ours": {damage: func(r *rig) {
			r.set(efivar.Loader("LoaderEntryOneShot"),
				efivar.EncodeString("other.conf"))
		}, slots: "AAA",
			want: []string{"degraded", `degraded, upgrade: An upgrade would be refused: LoaderEntryOneShot is set to "other.conf"`}},
		"LoaderEntryDefault": {armed: true, damage: func(r *rig) {
			r.set(efivar.Loader("LoaderEntryDefault"),
				efivar.EncodeString("pawl-a.conf"))
		}, slots: "B!AA",
			want: []string{"degraded", `degraded, loader: LoaderEntryDefault names slot A and outranks loader.conf; the next upgrade removes that variable, and so does confirm\.`}},
		"LoaderEntryDefault that is not ours": {damage: func(r *rig) {
			r.set(efivar.Loader("LoaderEntryDefault"),
				efivar.EncodeString("other*"))
		}, slots: "AAA",
			want: []string{"degraded", `degraded, upgrade: An upgrade would be refused: LoaderEntryDefault is "other\*" and outranks loader.conf`}},
		"another system in front": {damage: func(r *rig) {
			require.NoError(r.t, r.bootFiles().WriteFile("EFI/other.efi", loadertest.Kernel("amd64", nil)))
			r.option(7, "Other", `\EFI\other.efi`)
			r.numbers("BootOrder", 7, 1)
		}, slots: "---", want: []string{"broken", `broken, boots: Boot 1: EFI/other.efi starts, which is no slot of this machine\.`, `degraded, upgrade: An upgrade would be refused: Boot0007 "Other" comes before our loader`}},
		"too few starts for a trial": {armed: true, damage: func(r *rig) { r.numbers("BootOrder", 1) }, slots: "B!AA",
			want: []string{"degraded", `degraded, firmware: A trial is armed, and BootOrder starts the loader 1 times in a row: if slot B does not load, 2 are needed`}},

		"GRUB: one copy of the default": {loader: loaders.GRUBBIOS,
			damage: func(r *rig) { r.overwrite("grub/default.0.env") }, slots: "AAA",
			want: []string{"degraded", `degraded, loader: grub/default.0.env is damaged; the other copy decides, and confirm writes it anew\.`}},
		"GRUB: both copies": {loader: loaders.GRUBUEFI,
			damage: func(r *rig) { r.overwrite("grub/default.0.env"); r.overwrite("grub/default.1.env") }, slots: "AAA",
			want: []string{"degraded", `degraded, loader: grub/default.0.env is damaged`,
				`degraded, loader: grub/default.1.env is damaged`,
				`degraded, loader: Both copies of the default are damaged; slot A boots`}},
		"GRUB: the trial's block": {loader: loaders.GRUBUEFI, armed: true,
			damage: func(r *rig) { r.overwrite("grub/trial.env") }, slots: "AAA",
			want: []string{"degraded", `degraded, loader: grub/trial.env is damaged, so nothing is armed\.`,
				`degraded, upgrade: An upgrade would be refused: .*GRUB cannot count trials`}},
		"GRUB: the default's switch": {loader: loaders.GRUBBIOS, armed: true,
			damage: func(r *rig) { r.overwrite("grub/A.cfg") }, slots: "B!BB",
			want: []string{"degraded", `degraded, loader: grub/A.cfg is damaged; slot A is not bootable\.`,
				`degraded, loader: The default, slot A, is not bootable; slot B boots in its place\.`}},
		"GRUB: the initramfs of the trial, one byte": {loader: loaders.GRUBBIOS, armed: true,
			damage: func(r *rig) { r.flip(bootloader.B.File(bootloader.InitrdFile)) }, slots: "B!AA",
			want: []string{"broken", `degraded, slot B: Version 2.0.0 is damaged: initrd has SHA-256`,
				`broken, boots: Boot 1: slot B starts, and its initrd is not what its manifest says\.`}},
		"GRUB: the core image": {loader: loaders.GRUBBIOS, damage: func(r *rig) {
			off,
				_ := r.at("BIOS")
			r.junk(off+1024, 1)
		}, slots: "---",
			want: []string{"broken", `degraded, loader: The loader of version 1.0.0 \(GRUB [0-9a-f]+\) differs`,
				`broken, boots: Boot 1: nothing runs: the core image is damaged`,
				`degraded, upgrade: An upgrade would be refused: .*the core image is damaged`}},
		"GRUB: the first sector": {loader: loaders.GRUBBIOS, damage: func(r *rig) {
			b := make([]byte, 512)
			_, _ = r.Disk.ReadAt(b, 0)
			copy(b[:440], make([]byte, 440))
			b[0] = 0x33
			_, _ = r.Disk.WriteAt(b, 0)
		}, slots: "---", want: []string{"broken", `degraded, loader: .*the boot code in sector 0 names sector 0, which is not in the BIOS boot partition`, `broken, boots: Boot 1: nothing runs: the boot code in sector 0 is not GRUB's`, `degraded, upgrade: An upgrade would be refused: .*is not GRUB's`}},
		"GRUB of both: the core image": {loader: loaders.GRUB, damage: func(r *rig) {
			off, _ := r.at("BIOS")
			r.junk(off+1024, 1)
		}, slots: "AAA", want: []string{"degraded",
			`degraded, boots of the other firmware: A BIOS starts nothing of this disk: the core image is damaged`}},
		"GRUB of both, on a BIOS: what UEFI starts": {loader: loaders.GRUB, damage: func(r *rig) {
			r.BIOS, r.Vars = true, efivar.NewMemory()
			require.NoError(r.t, r.bootFiles().Remove("EFI/BOOT/BOOTX64.EFI"))
		}, slots: "AAA", want: []string{"degraded",
			`degraded, loader: The loader of version 1.0.0 \(GRUB [0-9a-f]+\) differs`,
			`degraded, boots of the other firmware: UEFI starts nothing of this disk: the firmware ends in its shell`}},
		"GRUB of both, on a BIOS: the core image": {loader: loaders.GRUB, damage: func(r *rig) {
			r.BIOS, r.Vars = true, efivar.NewMemory()
			off, _ := r.at("BIOS")
			r.junk(off+1024, 1)
		}, slots: "---", want: []string{"broken", `broken, boots: Boot 1: nothing runs: the core image is damaged`,
			`degraded, upgrade: An upgrade would be refused: .*the core image is damaged`}},
		"GRUB: the loader is gone": {loader: loaders.GRUBUEFI,
			damage: func(r *rig) { require.NoError(r.t, r.bootFiles().Remove("EFI/BOOT/BOOTX64.EFI")) }, slots: "---",
			want: []string{"broken", `degraded, loader: The loader of version 1.0.0 \(GRUB [0-9a-f]+\) differs`,
				`broken, boots: Boot 1: nothing runs: the firmware ends in its shell\.`,
				`degraded, upgrade: An upgrade would be refused: .*the firmware ends in its shell`}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.loader == "" {
				c.loader = loaders.SystemdBoot
			}
			r := onLoader(t, c.loader)
			if c.armed {
				_, err := r.Upgrade(t.Context(), r.version("2.0.0"), upgrade.Options{})
				require.NoError(t, err)
			}
			c.damage(r)
			d := r.diagnose()
			got := found(d)
			require.Equal(t, c.slots, slots(d), "%q", got)
			require.Len(t, got, len(c.want), "%q", got)
			for i := range got {
				require.Regexp(t, "^"+c.want[i], got[i])
			}
			for _, f := range d.Findings {
				if f.Severity != doctor.Fine {
					require.NotEmpty(t, f.Do, f.Text)
				}
			}
			require.Equal(t, d.Severity() != doctor.Broken, slices.ContainsFunc(d.Findings,
				func(f doctor.Finding) bool {
					return f.About == "boots" && f.Severity == doctor.Fine
				}), "only what was looked at is called complete")
			if d.Severity() != doctor.Broken { // what is predicted is what boots
				require.NoError(t, r.Boot())
				require.Equal(t, d.Boots[0].Slot, r.Last.Slot)
				require.Equal(t, d.Boots[0].Digest, r.Last.Digest)
			}
		})
	}
}

// Each way to try, and each count.
func TestDiagnosisOfATrial(t *testing.T) {
	for _, c := range []struct {
		o       upgrade.Options
		slots   string
		assumes string
	}{
		{upgrade.Options{Way: "boot-next"}, "B!AA", "Nobody confirms slot B during its trial."},
		{upgrade.Options{Way: "counting", Tries: 2}, "B!B!A", "Nobody confirms slot B during its trial."},
		{upgrade.Options{Tries: 3}, "B!AA",
			"Slot B does not come so far that it arms itself for the next of its 3 tries."},
	} {
		r := start(t)
		_, err := r.Upgrade(t.Context(), r.image("2.0.0"), c.o)
		require.NoError(t, err)
		d := r.diagnose()
		require.Equal(t, []string{"fine"}, found(d))
		require.Equal(t, c.slots, slots(d))
		require.Contains(t, d.Assumes, c.assumes)
	}
	r := startGRUB(t, loaders.GRUBBIOS)
	_, err := r.Upgrade(t.Context(), r.version("2.0.0"), upgrade.Options{Tries: 2})
	require.NoError(t, err)
	require.Equal(t, "B!B!A", slots(r.diagnose()))
	require.Equal(t, []string{"Nobody confirms slot B during its trial."}, r.diagnose().Assumes)
}

func TestKnownBadIsFound(t *testing.T) {
	r := start(t)
	two := r.image("2.0.0")
	r.upgrade(two)
	r.boots(bootloader.B, "2.0.0")
	r.boots(bootloader.A, "1.0.0")
	d := r.diagnose()
	require.Equal(t, []string{"degraded", "degraded, slot B: Version 2.0.0 is known to be bad: the new version " +
		"started, then ended without a word (it was last seen at \"wiped\")."}, found(d))
	require.True(t, slices.ContainsFunc(d.Findings, func(f doctor.Finding) bool {
		return f.About == "attempt" &&
			strings.Contains(f.Text, "fell back")
	}))
}

func TestStagedIsAssumedNotToBeArmed(t *testing.T) {
	r := start(t)
	m, err := r.Open()
	require.NoError(t, err)
	_, err = m.Stage(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.NoError(t, err)
	d := r.diagnose()
	require.Equal(t, []string{"fine"}, found(d))
	require.Equal(t, []string{"Version 2.0.0 is staged and is not armed: really, the next boot arms it and restarts " +
		"into its trial."}, d.Assumes)
}

// Where the firmware does not say who may sign, what starts is taken to be signed, and named.
func TestSignaturesOfWhichNothingIsKnown(t *testing.T) {
	r := start(t)
	r.secure(1)
	d := r.diagnose()
	require.Equal(t, []string{"fine"}, found(d))
	require.Len(t, d.Assumes, 2)
	for i, file := range []string{"EFI/BOOT/BOOTX64.EFI", "slot A's os.efi"} {
		require.Contains(t, d.Assumes[i], "Its signature is taken to be good: "+file+": whether Secure Boot accepts it "+
			"is not known: db: ")
	}
}

// Where it does, doctor judges: what is signed by nobody it trusts does not boot, and what is revoked later does not
// any more.
func TestDoctorJudgesSignatures(t *testing.T) {
	r := start(t)
	r.trusts([][]byte{r.installed(), r.file("EFI/pawl/A/os.efi")})
	d := r.diagnose()
	require.Equal(t, []string{"fine"}, found(d))
	require.Empty(t, d.Assumes)
	r.forbids([][]byte{r.file("EFI/pawl/A/os.efi")})
	d = r.diagnose()
	require.Equal(t, doctor.Broken, d.Severity())
	require.Contains(t, fmt.Sprint(d.Findings), "nothing runs")
	require.Contains(t, fmt.Sprint(d.Boots[0].Why), "refused by Secure Boot: its digest is in dbx")
}

func TestDiagnosisEndsWithItsContext(t *testing.T) {
	r := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := doctor.DiagnoseDevice(ctx, r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: r.Vars,
		Cmdline: new(string), BootID: "x", Version: "x"})
	require.ErrorIs(t, err, context.Canceled)
}
