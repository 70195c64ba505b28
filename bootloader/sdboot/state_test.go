package sdboot_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

const (
	conf   = "loader/loader.conf"
	entryA = "loader/entries/pawl-a.conf"
	entryB = "loader/entries/pawl-b.conf"
)

func sector(text string) []byte {
	return append([]byte(text), bytes.Repeat([]byte{'\n'}, 512-len(text))...)
}

func content(t *testing.T, r *loadertest.Rig, path string) string {
	t.Helper()
	data, err := r.FS.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, data, 512)
	return string(bytes.TrimRight(data, "\n"))
}

func state(t *testing.T, l bootloader.Bootloader) bootloader.State {
	t.Helper()
	st, err := l.State()
	require.NoError(t, err)
	return st
}

// upgraded returns a machine that runs version 2 from slot B, confirmed, with version 1 in slot A.
func upgraded(t *testing.T) *loadertest.Rig {
	t.Helper()
	r := trial(t)
	require.NoError(t, r.Confirm(bootloader.B))
	return boot(t, r, bootloader.B)
}

// trial returns a machine in the trial boot of version 2 in slot B.
func trial(t *testing.T) *loadertest.Rig {
	t.Helper()
	r := installed(t)
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	require.NoError(t, r.Arm(bootloader.B, 1))
	return boot(t, r, bootloader.B)
}

// An editor has trimmed an entry, which still starts what it did: a good trial is not lost to that.
func TestATrialIsConfirmedBesideAnEntryThatWasEdited(t *testing.T) {
	for _, path := range []string{entryA, entryB} {
		t.Run(path, func(t *testing.T) {
			r := trial(t)
			text := content(t, r, path) + "\n"
			require.NoError(t, r.FS.Remove(path))
			require.NoError(t, r.FS.WriteFile(path, []byte(text)))
			require.NoError(t, r.Confirm(bootloader.B))
			r = boot(t, boot(t, r, bootloader.B), bootloader.B)
			require.Contains(t, strings.Join(state(t, r).Warnings, " "), "pad it to 512")
		})
	}
}

func boot(t *testing.T, r *loadertest.Rig, want bootloader.Slot) *loadertest.Rig {
	t.Helper()
	o, err := r.Boot()
	require.NoError(t, err)
	require.Equal(t, want, o.Slot, o.String())
	again, err := backend.Rig(r.Machine)
	require.NoError(t, err)
	return again
}

func TestContractOnDisk(t *testing.T) {
	r := installed(t)
	require.Equal(t, "default pawl-a.conf\ntimeout 0", content(t, r, conf))
	require.Equal(t, "title Pawl\nversion 1\nsort-key 0\nefi /EFI/pawl/A/os.efi", content(t, r, entryA))
	require.Empty(t, content(t, r, entryB))
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	require.Equal(t, "title Pawl\nversion 2\nsort-key 9\nefi /EFI/pawl/B/os.efi", content(t, r, entryB))
	require.NoError(t, r.Arm(bootloader.B, 1))
	v, err := r.Vars.Read(efivar.Loader("LoaderEntryOneShot"))
	require.NoError(t, err)
	require.Equal(t, efivar.Variable{Attributes: 7, Data: efivar.EncodeString("pawl-b.conf")}, v,
		"systemd-boot deletes it with these attributes; with others it would stay for ever")
	r = boot(t, r, bootloader.B)
	require.NoError(t, r.Confirm(bootloader.B))
	require.Equal(t, "default pawl-b.conf\ntimeout 0", content(t, r, conf))
	require.Contains(t, content(t, r, entryA), "sort-key 9")
	require.Contains(t, content(t, r, entryB), "sort-key 0")
	require.NoError(t, r.Withdraw(bootloader.A))
	require.Empty(t, content(t, r, entryA))
}

func TestNotFound(t *testing.T) {
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	r, err := backend.Rig(m)
	require.NoError(t, err)
	_, err = r.State()
	require.ErrorIs(t, err, bootloader.ErrNotFound)
}

func TestInstallAgainKeepsWhatIsThere(t *testing.T) {
	r := installed(t)
	require.NoError(t, sdboot.Install(r.FS, loadertest.Loader("amd64")))
	boot(t, r, bootloader.A)
	require.ErrorContains(t, sdboot.Install(r.FS, []byte("MZ")), "no EFI image")
}

func TestInstallARM(t *testing.T) {
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	f, err := m.FS()
	require.NoError(t, err)
	require.NoError(t, sdboot.Install(f, loadertest.Loader("arm64")))
	_, err = f.Stat("EFI/BOOT/BOOTAA64.EFI")
	require.NoError(t, err)
}

func TestActive(t *testing.T) {
	const here = "11223344-5566-7788-99aa-bbccddeeff01"
	for _, c := range []struct {
		name                  string
		cmdline               string
		selected, uuid, image string
		want                  bootloader.Slot
		ambiguous             bool
	}{
		{name: "the loader's choice", selected: "pawl-b.conf", uuid: here, image: `\EFI\BOOT\BOOTX64.EFI`,
			want: bootloader.B},
		{name: "upper case", selected: "PAWL-B.conf", uuid: "11223344-5566-7788-99AA-BBCCDDEEFF01", want: bootloader.B},
		{name: "a counted name", selected: "pawl-b+2-1.conf", uuid: here, want: bootloader.B},
		{name: "our kexec wins", cmdline: "quiet pawl.slot=B panic=5", selected: "pawl-a.conf", uuid: here,
			want: bootloader.B},
		{name: "named twice, the same", cmdline: "pawl.slot=B pawl.slot=b", want: bootloader.B},
		{name: "named twice", cmdline: "pawl.slot=A pawl.slot=B", ambiguous: true},
		{name: "named wrong", cmdline: "pawl.slot=C", selected: "pawl-a.conf", uuid: here, ambiguous: true},
		{name: "another argument", cmdline: "xpawl.slot=B", selected: "pawl-a.conf", uuid: here, want: bootloader.A},
		{name: "another disk", selected: "pawl-b.conf", uuid: "99999999-5566-7788-99aa-bbccddeeff01",
			want: bootloader.None},
		{name: "another entry", selected: "debian.conf", uuid: here, want: bootloader.None},
		{name: "the firmware started the slot's image", uuid: here, image: `\EFI\pawl\B\os.efi`, want: bootloader.B},
		{name: "the firmware started something else", uuid: here, image: `\shellx64.efi`, want: bootloader.None},
		{name: "image and entry disagree", selected: "pawl-a.conf", uuid: here, image: `\EFI\pawl\B\os.efi`,
			ambiguous: true},
		{name: "no partition told", selected: "pawl-a.conf", ambiguous: true},
		{name: "nothing told", want: bootloader.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := upgraded(t)
			r.Vars.Reset()
			for name, value := range map[string]string{"LoaderEntrySelected": c.selected,
				"LoaderDevicePartUUID": c.uuid, "LoaderImageIdentifier": c.image} {
				if value != "" {
					volatile(t, r, name, value)
				}
			}
			l, err := sdboot.New(sdboot.Config{FS: r.FS, Vars: r.Vars, Partition: r.Partition, Cmdline: c.cmdline})
			require.NoError(t, err)
			st, err := l.State()
			if c.ambiguous {
				require.ErrorIs(t, err, bootloader.ErrAmbiguous)
				require.Error(t, l.Withdraw(bootloader.A), "nothing is touched")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, st.Active)
		})
	}
}

// BootCurrent names another slot's image than the stub does.
func TestActiveDisagreesWithBootCurrent(t *testing.T) {
	r := upgraded(t)
	r.Vars.Reset()
	volatile(t, r, "LoaderDevicePartUUID", r.Partition.GUID.String())
	volatile(t, r, "LoaderImageIdentifier", `\EFI\pawl\B\os.efi`)
	firmware(t, r, []string{"direct"}, 0)
	_, err := r.State()
	require.ErrorIs(t, err, bootloader.ErrAmbiguous)
}

func TestForeignNextBoot(t *testing.T) {
	for _, c := range []struct {
		name string
		key  efivar.Name
		data []byte
	}{
		{"BootNext", efivar.Global("BootNext"), []byte{1, 0}},
		{"an entry of others", efivar.Loader("LoaderEntryOneShot"),
			efivar.EncodeString("auto-reboot-to-firmware-setup")},
		{"a pattern", efivar.Loader("LoaderEntryOneShot"), efivar.EncodeString("pawl-*")},
		{"no string", efivar.Loader("LoaderEntryOneShot"), []byte{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := installed(t)
			require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
			set(t, r, c.key, c.data)
			require.ErrorIs(t, state(t, r).Blocked, bootloader.ErrForeign)
			require.ErrorIs(t, r.Disarm(), bootloader.ErrForeign)
			require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrForeign)
			v, err := r.Vars.Read(c.key)
			require.NoError(t, err)
			require.Equal(t, c.data, v.Data, "not overwritten")
		})
	}
}

// Every try has a start of the loader to come back by, and one is left for the default.
func TestTriesNeedStartsOfTheLoader(t *testing.T) {
	r := installed(t)
	require.Error(t, r.Prepare(bootloader.B, fill(t, r), sdboot.MaxTries+1))
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	require.ErrorContains(t, r.Arm(bootloader.B, 3), "2 times in a row, 4 are needed")
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 3))
	require.NoError(t, r.Arm(bootloader.B, 3))
}

func TestEntryDefaultOutranksTheFile(t *testing.T) {
	name := efivar.Loader("LoaderEntryDefault")
	t.Run("one of ours is the default", func(t *testing.T) {
		r := upgraded(t)
		set(t, r, name, efivar.EncodeString("pawl-a.conf"))
		require.Equal(t, bootloader.A, state(t, r).Default)
		require.Error(t, r.Withdraw(bootloader.A))
		r = boot(t, r, bootloader.A)
		require.NoError(t, r.Confirm(bootloader.B))
		_, err := r.Vars.Read(name)
		require.Error(t, err, "removed")
		boot(t, r, bootloader.B)
	})
	t.Run("and an upgrade goes on from there", func(t *testing.T) {
		r := upgraded(t)
		set(t, r, name, efivar.EncodeString("pawl-a.conf"))
		r = boot(t, r, bootloader.A)
		require.NoError(t, r.Withdraw(bootloader.B))
		require.Contains(t, content(t, r, conf), "default pawl-a.conf", "loader.conf follows what boots")
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
		require.NoError(t, r.Arm(bootloader.B, 1))
		boot(t, boot(t, r, bootloader.B), bootloader.A)
	})
	for _, value := range []string{"pawl-*", "@saved", "debian.conf"} {
		t.Run(value, func(t *testing.T) {
			r := installed(t)
			require.NoError(t, r.FS.WriteFile("loader/entries/debian.conf",
				[]byte("title Debian\nefi /EFI/BOOT/BOOTX64.EFI\n")))
			m := fill(t, r)
			require.NoError(t, r.Prepare(bootloader.B, m, 1))
			set(t, r, name, efivar.EncodeString(value))
			require.ErrorIs(t, state(t, r).Blocked, bootloader.ErrForeign)
			require.ErrorIs(t, r.Prepare(bootloader.B, m, 1), bootloader.ErrForeign)
			require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrForeign)
			require.ErrorIs(t, r.Withdraw(bootloader.B), bootloader.ErrForeign)
			require.NoError(t, r.Confirm(bootloader.A))
			require.NoError(t, state(t, r).Blocked)
		})
	}
	t.Run("what matches nothing does no harm", func(t *testing.T) {
		r := installed(t)
		set(t, r, name, efivar.EncodeString("gone.conf"))
		require.Equal(t, bootloader.A, state(t, r).Default)
		require.NoError(t, state(t, r).Blocked)
		boot(t, r, bootloader.A)
	})
}

func TestDestroyed(t *testing.T) {
	junk := bytes.Repeat([]byte{0xa5, 0x0a, 0x3c}, 171)[:512]
	t.Run("loader.conf", func(t *testing.T) {
		r := installed(t)
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
		require.NoError(t, r.FS.Overwrite(conf, junk))
		st := state(t, r)
		require.Equal(t, bootloader.A, st.Default)
		require.NotEmpty(t, st.Warnings)
		require.Error(t, r.Arm(bootloader.B, 1))
		r = boot(t, r, bootloader.A)
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
		require.Contains(t, content(t, r, conf), "default pawl-a.conf", "mended")
		require.NoError(t, r.Arm(bootloader.B, 1))
	})
	t.Run("loader.conf, beside the entries of others", func(t *testing.T) {
		r := installed(t)
		require.NoError(t, r.FS.WriteFile("loader/entries/debian.conf",
			[]byte("title Debian\nefi /EFI/BOOT/BOOTX64.EFI\n")))
		require.NoError(t, r.FS.Overwrite(conf, junk))
		require.ErrorIs(t, r.Withdraw(bootloader.B), bootloader.ErrForeign)
	})
	t.Run("the entry of the default", func(t *testing.T) {
		// The sort key of a confirmed slot was being written. What runs next is the other one, and the slot whose entry
		// was destroyed is a target like any other: it must not win when it is prepared again, though loader.conf names
		// it.
		r := upgraded(t)
		require.NoError(t, r.FS.Overwrite(entryB, junk))
		r = boot(t, r, bootloader.A)
		require.Equal(t, bootloader.A, state(t, r).Default)
		require.NoError(t, r.Withdraw(bootloader.B))
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
		require.Contains(t, content(t, r, entryB), "sort-key 99", "behind the default, whose key is 9 still")
		boot(t, r, bootloader.A)
	})
	t.Run("an edited loader.conf", func(t *testing.T) {
		r := installed(t)
		require.NoError(t, r.FS.WriteFile(conf, []byte("default pawl-a.conf\ntimeout 3\n")))
		require.ErrorContains(t, state(t, r).Blocked, "was edited")
	})
}

// At no cut of a confirm, with loader.conf destroyed as well, does anything boot but a slot that is complete and was or
// is being confirmed; and afterwards a new target never wins.
func TestSortOrderIsTheSecondLine(t *testing.T) {
	r := trial(t)
	r.Disk.Record()
	require.NoError(t, r.Confirm(bootloader.B))
	trace := r.Disk.Trace()
	for n := 0; n <= len(trace.Ops); n++ {
		m := r.Machine.Clone()
		m.Disk = trace.After(n)
		cut, err := backend.Rig(m)
		require.NoError(t, err)
		require.NoError(t, cut.FS.Overwrite(conf, sector("junk")))
		o, err := cut.Boot()
		require.NoError(t, err)
		require.NotEqual(t, bootloader.None, o.Slot)
		if o.Slot == bootloader.A {
			continue
		}
		cut, err = backend.Rig(m)
		require.NoError(t, err)
		if state(t, cut).Default == bootloader.None {
			require.Error(t, cut.Withdraw(bootloader.A), "both sort keys are the same: confirm first")
			require.NoError(t, cut.Confirm(bootloader.B))
		}
		require.NoError(t, cut.Withdraw(bootloader.A))
		held, err := loadertest.Fill(cut.FS, bootloader.A, "3")
		require.NoError(t, err)
		require.NoError(t, cut.Prepare(bootloader.A, held, 1))
		require.NoError(t, cut.FS.Overwrite(conf, sector("junk")))
		boot(t, cut, bootloader.B)
	}
}

func TestWithoutVariables(t *testing.T) {
	t.Run("none at all", func(t *testing.T) {
		r := upgraded(t)
		l, err := sdboot.New(sdboot.Config{FS: r.FS, Partition: r.Partition})
		require.NoError(t, err)
		require.Empty(t, state(t, l).Warnings, "a disk image")
		l, err = sdboot.New(sdboot.Config{FS: r.FS, Partition: r.Partition, Cmdline: "quiet"})
		require.NoError(t, err)
		st := state(t, l)
		require.Equal(t, bootloader.None, st.Active)
		require.NotEmpty(t, st.Warnings)
		require.ErrorIs(t, st.Blocked, bootloader.ErrNoVariables)
		require.ErrorIs(t, l.Arm(bootloader.A, 1), bootloader.ErrNoVariables)
		require.NoError(t, l.Disarm(), "nothing can be armed")
		require.NoError(t, l.Confirm(bootloader.B))
		require.NoError(t, l.Confirm(bootloader.A))
	})
	refuse := func(efivar.Name, []byte) error { return efivar.ErrNotKept }
	t.Run("they cannot be written", func(t *testing.T) {
		r := installed(t)
		r.Vars.BeforeWrite = refuse
		require.ErrorIs(t, r.Prepare(bootloader.B, fill(t, r), 1), bootloader.ErrNoVariables)
		require.Empty(t, content(t, r, entryB))
	})
	t.Run("no longer at arm", func(t *testing.T) {
		r := installed(t)
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
		r.Vars.BeforeWrite = refuse
		require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrNoVariables)
		r.Vars.BeforeWrite = nil
		require.NoError(t, r.Arm(bootloader.B, 1))
		r.Vars.BeforeWrite = refuse
		require.NoError(t, r.Disarm(), "by the entry that is named")
		require.Equal(t, bootloader.None, state(t, r).Armed)
		boot(t, r, bootloader.A)
	})
	t.Run("confirm needs none", func(t *testing.T) {
		r := trial(t)
		r.Vars.BeforeWrite = refuse
		require.NoError(t, r.Confirm(bootloader.B))
		boot(t, r, bootloader.B)
	})
	t.Run("confirm says what stays in the way", func(t *testing.T) {
		r := trial(t)
		set(t, r, efivar.Loader("LoaderEntryDefault"), efivar.EncodeString("pawl-a.conf"))
		r.Vars.BeforeWrite = refuse
		require.ErrorIs(t, r.Confirm(bootloader.B), bootloader.ErrNoVariables)
	})
	t.Run("an install needs none", func(t *testing.T) {
		r := installed(t)
		require.NoError(t, r.FS.Overwrite(conf, sector("timeout 0\n")))
		require.NoError(t, r.FS.Overwrite(entryA, sector("")))
		r.Vars = efivar.NewMemory()
		r.Vars.BeforeWrite = refuse
		l, err := sdboot.New(sdboot.Config{FS: r.FS, Vars: r.Vars, Partition: r.Partition})
		require.NoError(t, err)
		_, m := loadertest.Payload("1")
		require.NoError(t, l.Prepare(bootloader.A, m, 1))
		require.NoError(t, l.Confirm(bootloader.A))
	})
}

func TestNewRefuses(t *testing.T) {
	r := installed(t)
	for _, c := range []sdboot.Config{{}, {FS: r.FS}, {FS: r.FS, Partition: r.Partition, Timeout: -1}} {
		_, err := sdboot.New(c)
		require.Error(t, err)
	}
}
