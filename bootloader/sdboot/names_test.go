package sdboot_test

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// truthful requires that the default is what boots, or that it is said not to be known, and then why.
func truthful(t *testing.T, r *loadertest.Rig) bootloader.State {
	t.Helper()
	st := state(t, r)
	next, err := (&loadertest.Rig{Machine: r.Machine.Clone()}).Boot()
	require.NoError(t, err)
	if st.Default == bootloader.None {
		require.ErrorIs(t, st.Blocked, bootloader.ErrForeign)
		return st
	}
	require.Equal(t, next.Slot, st.Default, "%v; %v", next, st.Warnings)
	return st
}

// Entries of ours as others may have left them: which slot boots by itself is told as the loader has it, and a confirm
// of the slot that runs makes that one the default.
func TestAnEntryThatWasEditedIsTakenAsTheLoaderTakesIt(t *testing.T) {
	line := func(text string) func(string) string { return func(old string) string { return old + "\n" + text } }
	spelt := func(path string) func(string) string {
		return func(old string) string { return strings.Replace(old, "/EFI/pawl/B/os.efi", path, 1) }
	}
	for name, c := range map[string]struct {
		edit    func(old string) string
		version string // of the loader
		want    bootloader.Slot
	}{
		"for this machine":                {line("architecture x64"), thisVersion, bootloader.B},
		"for this machine, in upper case": {line("architecture X64"), newVersion, bootloader.B},
		"for ARM":                         {line("architecture aa64"), thisVersion, bootloader.A},
		"for ARM, in front":               {func(old string) string { return "architecture aa64\n" + old }, newVersion, bootloader.A},
		"for a machine of 32 bits":        {line("architecture ia32"), thisVersion, bootloader.A},
		"for RISC-V":                      {line("architecture\triscv64"), thisVersion, bootloader.A},
		"for two machines":                {line("architecture x64\narchitecture arm"), thisVersion, bootloader.A},
		"for what is no machine":          {line("architecture amd64"), thisVersion, bootloader.A},
		"a path in quotes":                {spelt(`"/EFI/pawl/B/os.efi"`), thisVersion, bootloader.B},
		"a path in lower case":            {spelt("/efi/PAWL/b/OS.efi"), thisVersion, bootloader.B},
		"a path with backslashes":         {spelt(`\EFI\\pawl\B\os.efi`), thisVersion, bootloader.B},
		"a path that begins in the root":  {spelt("EFI/pawl/B/os.efi"), thisVersion, bootloader.B},
		"a key that is not known":         {line("devicetree-overlay x\nprofile 1"), thisVersion, bootloader.B},
		"an initramfs beside a UKI":       {line("initrd /gone"), thisVersion, bootloader.B},
		"a UKI's key too":                 {line("uki /gone.efi"), thisVersion, bootloader.B},
		"a UKI's key too, newer":          {line("uki /gone.efi"), newVersion, bootloader.A},
		"a kernel before":                 {func(old string) string { return "linux /gone\n" + old }, thisVersion, bootloader.B},
		"a kernel before, newer":          {func(old string) string { return "linux /gone\n" + old }, newVersion, bootloader.A},
	} {
		t.Run(name, func(t *testing.T) {
			r := upgraded(t)
			require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.LoaderOf("amd64", c.version)))
			r = boot(t, r, bootloader.B)
			require.NoError(t, r.FS.Overwrite(entryB, sector(c.edit(content(t, r, entryB)))))
			require.Equal(t, c.want, truthful(t, r).Default)
			require.NoError(t, r.Confirm(bootloader.B))
			require.Equal(t, bootloader.B, truthful(t, r).Default)
			boot(t, boot(t, r, bootloader.B), bootloader.B)
		})
	}
}

// A confirm that could not be finished writes nothing: neither the entry that it would mend, nor loader.conf.
func TestAConfirmBesideALoaderConfOfAnotherLength(t *testing.T) {
	r := boot(t, upgraded(t), bootloader.B)
	hidden := sector(content(t, r, entryB) + "\narchitecture aa64")
	require.NoError(t, r.FS.Overwrite(entryB, hidden))
	require.NoError(t, r.FS.Remove(conf))
	require.NoError(t, r.FS.WriteFile(conf, bytes.Repeat([]byte("\n"), 1112)))
	require.ErrorContains(t, r.Confirm(bootloader.B), "it has 1112 bytes, and a confirm could not overwrite it; pad it to 512")
	now, err := r.FS.ReadFile(entryB)
	require.NoError(t, err)
	require.Equal(t, hidden, now)
}

// Names and patterns in loader.conf and in the variables that outrank it: what boots by itself is told as the loader
// has it, nothing is armed beside what is not ours, and a confirm of the slot that runs makes that one the default.
func TestAPatternNamesTheDefault(t *testing.T) {
	for _, version := range []string{thisVersion, newVersion} {
		for value, last := range map[string]string{
			"*": "", "pawl-*": "", "pawl-?.conf": "", "PAWL-?.CONF": "", "pawl-[ab].conf": "", "pawl-[b-z].conf": "",
			"pawl-[]a].conf": "", "pawl-[!b].conf": "", "pawl-[a-": "", "pawl-a*": "", "*b.conf": "", `pawl-\a.conf`: "",
			"*.efi": "", "pawl-a": "", "arch-*": "", "auto-*": "", "auto-windows": "", "auto-efi-shell": "",
			"auto-reboot-to-firmware-setup": "", "@saved": "pawl-a.conf", "@SAVED": "pawl-a.conf", "@saved ": "PAWL-?.conf",
			" @saved": "", "@other": "pawl-a.conf", `"pawl-a.conf"`: "", `"pawl-a*`: "",
		} {
			for _, where := range []string{"loader.conf", "loader.conf twice", "LoaderEntryDefault",
				"LoaderEntryPreferred"} {
				t.Run(strings.Join([]string{version, where, value}, " "), func(t *testing.T) {
					r := upgraded(t)
					require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.LoaderOf("amd64", version)))
					r = boot(t, r, bootloader.B)
					if last != "" {
						set(t, r, efivar.Loader("LoaderEntryLastBooted"), efivar.EncodeString(last))
					}
					switch where {
					case "loader.conf":
						require.NoError(t, r.FS.Overwrite(conf, sector("default "+value+"\ntimeout 0")))
					case "loader.conf twice":
						require.NoError(t, r.FS.Overwrite(conf, sector("default pawl-a.conf\ndefault "+value)))
					default:
						set(t, r, efivar.Loader(where), efivar.EncodeString(value))
					}
					truthful(t, r)
					require.NoError(t, r.Confirm(bootloader.B))
					require.Equal(t, bootloader.B, truthful(t, r).Default)
					boot(t, boot(t, r, bootloader.B), bootloader.B)
				})
			}
		}
	}
}

// Another program's entry that a pattern fits may be what boots: then the default is not known. One that it does not
// fit changes nothing.
func TestAPatternAndAnEntryOfOthers(t *testing.T) {
	for value, want := range map[string]bootloader.Slot{
		"*": bootloader.None, "arch*": bootloader.None, "pawl-*": bootloader.B, "pawl-[a-c].conf": bootloader.B,
		"pawl-a*": bootloader.A, "*.conf": bootloader.None, "[^p]*": bootloader.None,
		"auto-windows": bootloader.None, // and so the first in order boots
	} {
		r := upgraded(t)
		require.NoError(t, r.FS.WriteFile("loader/entries/Arch.conf", []byte("title Arch\nsort-key a\nlinux /EFI/BOOT/BOOTX64.EFI\n")))
		require.NoError(t, r.FS.Overwrite(conf, sector("default "+value)))
		require.Equal(t, want, truthful(t, r).Default, value)
	}
}

// Of the entries that the loader makes by itself those count that are there.
func TestAnEntryThatTheLoaderMakesIsTheDefault(t *testing.T) {
	for value, want := range map[string]bootloader.Slot{
		"auto-windows": bootloader.B, "auto-osx": bootloader.B, "auto-efi-d*": bootloader.B,
		"auto-efi-shell": bootloader.None, "auto-e*": bootloader.None, "auto-reboot-to-firmware-setup": bootloader.None,
	} {
		r := upgraded(t)
		require.NoError(t, r.FS.WriteFile("shellx64.efi", loadertest.Kernel("amd64", nil)))
		set(t, r, efivar.Loader("LoaderEntryDefault"), efivar.EncodeString(value))
		require.Equal(t, want, truthful(t, r).Default, value)
		require.NoError(t, r.Confirm(bootloader.B))
		require.Equal(t, bootloader.B, truthful(t, r).Default, value)
	}
}

// A firmware that starts a slot's UKI by an entry in BootOrder, in whatever form, has not started the loader: what runs
// is known, and whether the loader would ever start is not, by that entry.
func TestAStartOfAUKIIsNoStartOfTheLoader(t *testing.T) {
	for form, nodes := range map[string]func(r *loadertest.Rig) []efivar.Node{
		"partition and file": func(r *loadertest.Rig) []efivar.Node {
			return []efivar.Node{r.Partition.Node(), efivar.FilePath(`\EFI\pawl\B\os.efi`)}
		},
		"another spelling": func(r *loadertest.Rig) []efivar.Node {
			return []efivar.Node{r.Partition.Node(), efivar.FilePath(`/efi//pawl/`), efivar.FilePath(`B\OS.efi`)}
		},
		"in full": func(r *loadertest.Rig) []efivar.Node {
			return []efivar.Node{{Type: 2, Subtype: 1, Data: []byte("\xd0\x41\x03\x0a\x00\x00\x00\x00")},
				{Type: 1, Subtype: 1, Data: []byte{0, 2}}, r.Partition.Node(), efivar.FilePath(`\EFI\pawl\B\os.efi`)}
		},
		"file alone": func(*loadertest.Rig) []efivar.Node { return []efivar.Node{efivar.FilePath(`\EFI\pawl\B\os.efi`)} },
	} {
		t.Run(form, func(t *testing.T) {
			r := installed(t)
			require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
			data, err := efivar.LoadOption{Attributes: efivar.Active, Description: "UEFI OS",
				Path: append(nodes(r), efivar.End())}.Encode()
			require.NoError(t, err)
			set(t, r, efivar.Boot(7), data)
			set(t, r, efivar.Global("BootOrder"), efivar.EncodeNumbers(append([]uint16{7},
				number(t, r, "BootOrder")...)...))
			r = boot(t, r, bootloader.B)
			require.Equal(t, bootloader.B, state(t, r).Active)
			require.ErrorIs(t, state(t, r).Blocked, bootloader.ErrForeign)
			r.Vars.Unreadable = map[efivar.Name]error{efivar.Boot(7): syscall.EIO}
			require.ErrorIs(t, state(t, r).Blocked, bootloader.ErrForeign)
			require.ErrorContains(t, state(t, r).Blocked, "Boot0007")
		})
	}
}

// A variable that does not end with a NUL says to loaders before 261 what it says without its last character.
func TestAVariableWithoutANUL(t *testing.T) {
	for _, c := range []struct {
		release, value string
		want           bootloader.Slot
	}{
		{thisVersion, "pawl-a.conf", bootloader.B}, {thisVersion, "pawl-a.conf\n", bootloader.A},
		{"262.1-1", "pawl-a.conf", bootloader.A}, {"262.1-1", "pawl-a.conf\n", bootloader.B},
	} {
		r := upgraded(t)
		require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", release(c.release)))
		data := efivar.EncodeString(c.value)
		set(t, r, efivar.Loader("LoaderEntryDefault"), data[:len(data)-2])
		require.Equal(t, c.want, truthful(t, r).Default, "%+v", c)
		require.NoError(t, r.Confirm(bootloader.B))
		boot(t, boot(t, r, bootloader.B), bootloader.B)
	}
}

// A variable that cannot be deleted: what names no entry stops no confirm.
func TestAConfirmBesideAVariableThatStays(t *testing.T) {
	for value, fails := range map[string]bool{"no entry": false, "gone.conf": false, "pawl-b.conf": false, "pawl-a*": true,
		"pawl-a.conf": true} {
		r := trial(t)
		set(t, r, efivar.Loader("LoaderEntryDefault"), efivar.EncodeString(value))
		r.Vars.BeforeWrite = func(efivar.Name, []byte) error { return efivar.ErrNotKept }
		err := r.Confirm(bootloader.B)
		if fails {
			require.ErrorIs(t, err, bootloader.ErrNoVariables, value)
			continue
		}
		require.NoError(t, err, value)
		require.Equal(t, bootloader.B, truthful(t, r).Default, value)
	}
}
