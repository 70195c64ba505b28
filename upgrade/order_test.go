package upgrade_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// picked boots slot s as when somebody picks its entry in the loader's menu: once, and neither disk nor variables keep
// a sign of it.
func (r *rig) picked(s bootloader.Slot) upgrade.Boot {
	r.t.Helper()
	entry := efivar.EncodeString("pawl-" + strings.ToLower(string(s)) + ".conf")
	require.NoError(r.t, r.Vars.Write(efivar.Loader("LoaderEntryOneShot"), efivar.Variable{Attributes: efivar.Kept,
		Data: entry}))
	require.NoError(r.t, r.Boot())
	require.Equal(r.t, s, r.Last.Slot)
	b, err := r.Started(r.t.Context())
	require.NoError(r.t, err)
	return b
}

// part is what a partition holds, to be put back on a later day.
func (r *rig) part(label string) (restore func()) {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find(label)
	require.NoError(r.t, err)
	section, held := partition.Section(r.Disk, p), make([]byte, layout.Bytes(p))
	_, err = section.ReadAt(held, 0)
	require.NoError(r.t, err)
	return func() {
		_, err := section.WriteAt(held, 0)
		require.NoError(r.t, err)
	}
}

func (r *rig) rollback(o upgrade.Options) (attempt.Attempt, error) {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	return m.Rollback(r.t.Context(), o)
}

// unorderedBoots are machines that run a slot which is not their default, and which no attempt ordered.
var unorderedBoots = map[string]struct {
	boot func(r *rig) upgrade.Boot
	why  string
}{
	"an entry picked after its trial fell back": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.boots(bootloader.B, "2.0.0")
		r.boots(bootloader.A, "1.0.0")
		return r.picked(bootloader.B)
	}, "was over before (upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): fell back"},
	"an entry picked after its upgrade was taken back": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		_, err := r.rollback(upgrade.Options{})
		require.NoError(r.t, err)
		return r.picked(bootloader.B)
	}, "rolled back by hand"},
	"the old version picked": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.boots(bootloader.B, "2.0.0")
		r.confirm()
		return r.picked(bootloader.A)
	}, "the latest attempt is for slot B (upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): confirmed)"},
	"an entry picked before it was armed": {func(r *rig) upgrade.Boot {
		m, err := r.Open()
		require.NoError(r.t, err)
		_, err = m.Prepare(r.t.Context(), r.image("2.0.0"), upgrade.Options{})
		require.NoError(r.t, err)
		return r.picked(bootloader.B)
	}, "is not armed"},
	"a staged version picked": {func(r *rig) upgrade.Boot {
		r.stage(r.image("2.0.0"), upgrade.Options{})
		return r.picked(bootloader.B)
	}, "is not armed"},
	"META made empty": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.emptyMeta()
		return r.boots(bootloader.B, "2.0.0")
	}, "META holds no attempt"},
	"META of an earlier day, in a trial": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.boots(bootloader.B, "2.0.0")
		restore := r.part("META")
		r.boots(bootloader.A, "1.0.0")
		restore()
		return r.picked(bootloader.B)
	}, "has had all of its boots"},
	"META of an earlier day, of another image": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		restore := r.part("META")
		r.upgrade(r.image("3.0.0"))
		restore()
		return r.picked(bootloader.B)
	}, "the latest attempt is for image"},
	"META of an earlier day, armed for the slot that is the default now": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		restore := r.part("META")
		r.boots(bootloader.B, "2.0.0")
		r.confirm()
		restore()
		return r.picked(bootloader.A)
	}, "the latest attempt is for slot B"},
	"variables of an earlier day": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		armed := r.Vars.Clone()
		r.boots(bootloader.B, "2.0.0")
		r.boots(bootloader.A, "1.0.0")
		r.Vars = armed
		return r.boots(bootloader.B, "2.0.0")
	}, "was over before"},
	"a boot file system of an earlier day": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		restore := r.part("EFI")
		r.boots(bootloader.B, "2.0.0")
		r.confirm()
		restore()
		return r.picked(bootloader.B)
	}, "was over before (upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): confirmed)"},
	"META made empty, and a pattern in loader.conf": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.emptyMeta()
		r.write("loader/loader.conf", "default pawl-?.conf\ntimeout 3\n")
		return r.boots(bootloader.B, "2.0.0")
	}, "META holds no attempt"},
	"META made empty, and a pattern that another program's entry fits too": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.emptyMeta()
		r.write("loader/loader.conf", "default *\n")
		r.write("loader/entries/zz.conf", "title Z\nsort-key zz\nefi /EFI/pawl/A/os.efi\n")
		return r.boots(bootloader.B, "2.0.0")
	}, "META holds no attempt"},
	"META made empty, and what was booted last is saved": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.emptyMeta()
		r.write("loader/loader.conf", "default @saved\n")
		return r.boots(bootloader.B, "2.0.0")
	}, "META holds no attempt"},
	"META made empty, and a variable that holds a pattern": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.emptyMeta()
		require.NoError(r.t, r.Vars.Write(efivar.Loader("LoaderEntryDefault"), efivar.Variable{
			Attributes: efivar.Kept, Data: efivar.EncodeString("pawl-[!a]*")}))
		return r.boots(bootloader.B, "2.0.0")
	}, "META holds no attempt"},
	"the default's entry is for another machine since": {func(r *rig) upgrade.Boot {
		r.upgrade(r.image("2.0.0"))
		r.boots(bootloader.B, "2.0.0")
		r.confirm()
		r.boots(bootloader.B, "2.0.0")
		r.write("loader/entries/pawl-b.conf",
			"title Pawl\nversion 2.0.0\nsort-key 0\nefi /EFI/pawl/B/os.efi\narchitecture aa64\n")
		b, err := r.Started(r.t.Context())
		require.NoError(r.t, err)
		return b
	}, "was over before"},
}

// write writes a file of one sector, as others do.
func (r *rig) write(path, text string) {
	r.t.Helper()
	m, err := r.Open()
	require.NoError(r.t, err)
	data := []byte(text + strings.Repeat("\n", 512-len(text)))
	if err := m.Boot.Overwrite(path, data); err != nil {
		require.ErrorIs(r.t, err, fs.ErrNotExist)
		require.NoError(r.t, m.Boot.WriteFile(path, data))
	}
}

func (r *rig) emptyMeta() {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find("META")
	require.NoError(r.t, err)
	require.NoError(r.t, meta.Format(partition.Section(r.Disk, p)))
}

func TestABootThatNoAttemptOrderedIsNeverConfirmedByItself(t *testing.T) {
	for name, test := range unorderedBoots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			b := test.boot(r)
			runs := r.Last.Slot
			require.Contains(t, b.Unordered, test.why)
			require.False(t, b.Trial)
			require.False(t, b.Wiped)
			require.Nil(t, b.Attempt)

			before := r.status()
			require.Equal(t, b.Unordered, before.Unordered)
			d, err := doctor.DiagnoseDevice(t.Context(), r.Disk, upgrade.OpenOptions{Loaders: loaders.All(),
				Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: before.Version})
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(d.Findings, func(f doctor.Finding) bool {
				return f.Severity == doctor.Degraded && strings.Contains(f.Text, "no attempt ordered this boot: "+
					b.Unordered)
			}))

			_, err = r.Confirm(t.Context())
			require.ErrorIs(t, err, upgrade.ErrUnordered)
			require.ErrorContains(t, err, "only a person can confirm it")
			b, err = r.Started(t.Context()) // the service starts again
			require.NoError(t, err)
			require.NotEmpty(t, b.Unordered)
			require.Equal(t, before, r.status(), "nothing is changed")
			require.NoError(t, r.Boot())
			require.Equal(t, runs.Other(), r.Last.Slot, "the default is what it was")
		})
	}
}

func TestAPersonConfirmsWhatNoAttemptOrdered(t *testing.T) {
	for name, test := range unorderedBoots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			test.boot(r)
			runs, version := r.Last.Slot, r.status().Version
			m, err := r.Open()
			require.NoError(t, err)
			a, err := m.Confirm(t.Context(), upgrade.Options{Ordered: true})
			require.NoError(t, err)
			require.Contains(t, a.String(), "to "+version+" (slot "+string(runs)+"): confirmed: confirmed by hand")
			st := r.status()
			require.Equal(t, runs, st.Loader.Default)
			require.Empty(t, st.Unordered)
			require.Empty(t, st.KnownBad, "a person knows better")
			require.Equal(t, a.ID, st.Attempt.ID)
			for range 2 {
				b := r.boots(runs, version)
				require.False(t, b.Trial)
				require.Empty(t, b.Unordered)
			}
		})
	}
}

func TestAPersonGoesBackFromWhatNoAttemptOrdered(t *testing.T) {
	for name, test := range unorderedBoots {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			test.boot(r)
			runs := r.Last.Slot
			a, err := r.rollback(upgrade.Options{})
			require.NoError(t, err)
			require.Equal(t, attempt.Abandoned, a.Result)
			require.NotEmpty(t, r.status().Unordered)
			require.NoError(t, r.Boot())
			require.Equal(t, runs.Other(), r.Last.Slot)
		})
	}
}

// META that cannot be read rules nothing out: a trial that an attempt ordered is confirmed all the same.
func TestATrialIsConfirmedWithMETADestroyed(t *testing.T) {
	for _, when := range []string{"before the trial", "in the trial"} {
		t.Run(when, func(t *testing.T) {
			r := start(t)
			r.upgrade(r.image("2.0.0"))
			if when == "before the trial" {
				destroyMeta(t, r.Machine)
			}
			require.True(t, r.boots(bootloader.B, "2.0.0").Trial)
			destroyMeta(t, r.Machine)
			require.Empty(t, r.status().Unordered)
			_, err := r.Confirm(t.Context())
			require.NoError(t, err)
			require.False(t, r.boots(bootloader.B, "2.0.0").Trial)
		})
	}
}

// Rolled back by hand in its trial, a version is not taken for a trial by a service that starts once more.
func TestATrialThatWasRolledBackIsNotBegunAgain(t *testing.T) {
	r := tried(t, 3)
	_, err := r.rollback(upgrade.Options{})
	require.NoError(t, err)
	b, err := r.Started(t.Context())
	require.NoError(t, err)
	require.Contains(t, b.Unordered, "the attempt that ordered it is over")
	r.boots(bootloader.A, "1.0.0")
}

// The default runs and the other slot boots next: a confirm is none, and says so.
func TestAConfirmWhileTheOtherSlotIsArmedIsRefused(t *testing.T) {
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBUEFI} {
		r := start(t)
		if loader == loaders.GRUBUEFI {
			r = startGRUB(t, loader)
		}
		r.upgrade(r.version("2.0.0"))
		_, err := r.Confirm(t.Context())
		require.ErrorIs(t, err, upgrade.ErrArmed)
		require.ErrorContains(t, err, "slot B boots next")
		require.True(t, r.boots(bootloader.B, "2.0.0").Trial, "nothing was disarmed")
	}
}

// The default runs, and another program has set what boots next: it is left as it is. Where that is the other slot, a
// confirm is none.
func TestAConfirmBesideANextBootOfOthers(t *testing.T) {
	for once, refused := range map[string]bool{
		"*": false, "pawl-*": false, "pawl-b*": false, "pawl-[b-z].conf": false, "arch.conf": false,
		"auto-reboot-to-firmware-setup": false, "auto-windows": false, "@saved": false, "pawl-b.conf.": false,
		"pawl-a*": true, "*-a.conf": true, "pawl-[!a].conf": true,
	} {
		t.Run(once, func(t *testing.T) {
			r := start(t)
			r.upgrade(r.image("2.0.0"))
			r.boots(bootloader.B, "2.0.0")
			r.confirm()
			r.boots(bootloader.B, "2.0.0")
			require.NoError(t, r.Vars.Write(efivar.Loader("LoaderEntryOneShot"), efivar.Variable{
				Attributes: efivar.Kept, Data: efivar.EncodeString(once)}))
			before := r.Vars.Values()
			_, err := r.Confirm(t.Context())
			require.Equal(t, before, r.Vars.Values())
			if refused {
				require.ErrorIs(t, err, upgrade.ErrRehearsal)
				require.ErrorContains(t, err, "LoaderEntryOneShot")
				return
			}
			require.NoError(t, err)
			require.NoError(t, r.Boot())
			require.NotEqual(t, bootloader.A, r.Last.Slot)
			require.False(t, r.boots(bootloader.B, "2.0.0").Trial)
		})
	}
}
