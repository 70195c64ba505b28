package sdboot_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// The options that a firmware may hold.
func options(part efivar.HardDrive) map[string]efivar.LoadOption {
	file := func(drive efivar.HardDrive, path string) []efivar.Node {
		return []efivar.Node{drive.Node(), efivar.FilePath(path), efivar.End()}
	}
	elsewhere, renumbered := part, part
	elsewhere.GUID[0]++
	renumbered.Number++
	root := efivar.Node{Type: 2, Subtype: 1, Data: []byte("\xd0\x41\x03\x0a\x00\x00\x00\x00")}
	pci := func(slot byte) efivar.Node { return efivar.Node{Type: 1, Subtype: 1, Data: []byte{0, slot}} }
	mac := efivar.Node{Type: 3, Subtype: 11, Data: make([]byte, 33)}
	shell := efivar.Node{Type: 4, Subtype: 6,
		Data: []byte("\x83\xa5\x04\x7c\x3e\x9e\x1c\x4f\xad\x65\xe0\x52\x68\xd0\xb4\xd1")}
	volume := efivar.Node{Type: 4, Subtype: 7, Data: make([]byte, 16)}
	return map[string]efivar.LoadOption{
		"setup": {Attributes: efivar.Active | efivar.Hidden | efivar.CategoryApp, Description: "UiApp",
			Path: []efivar.Node{volume, shell, efivar.End()}},
		"disk": {Attributes: efivar.Active, Description: "UEFI Misc Device", Path: []efivar.Node{root, pci(2),
			efivar.End()}},
		"network": {Attributes: efivar.Active, Description: "PXE", Path: []efivar.Node{root, pci(3), mac,
			efivar.End()}},
		"shell": {Attributes: efivar.Active, Description: "EFI Internal Shell", Path: []efivar.Node{volume, shell,
			efivar.End()}},
		"ours":   {Attributes: efivar.Active, Description: "Pawl", Path: file(part, `\EFI\BOOT\BOOTX64.EFI`)},
		"asleep": {Description: "Pawl", Path: file(part, `\EFI\BOOT\BOOTX64.EFI`)},
		"moved": {Attributes: efivar.Active, Description: "Pawl",
			Path: file(renumbered, `\EFI\BOOT\BOOTX64.EFI`)},
		"debian": {Attributes: efivar.Active, Description: "debian",
			Path: file(elsewhere, `\EFI\debian\shimx64.efi`)},
		"inactive": {Description: "debian", Path: file(elsewhere, `\EFI\debian\shimx64.efi`)},
		"stale":    {Attributes: efivar.Active, Description: "old", Path: file(part, `\EFI\gone\grubx64.efi`)},
		"spare": {Attributes: efivar.Active, Description: "Pawl (spare loader)",
			Path: file(part, `\EFI\pawl\A\loader.efi`)},
		"other spare": {Attributes: efivar.Active, Description: "Pawl (spare loader)",
			Path: file(part, `\EFI\pawl\B\loader.efi`)},
		"lower case": {Attributes: efivar.Active, Description: "x", Path: file(part, `EFI\boot\bootx64.efi`)},
		"slashes":    {Attributes: efivar.Active, Description: "x", Path: file(part, `/EFI//BOOT/BOOTX64.EFI`)},
		"two nodes": {Attributes: efivar.Active, Description: "x", Path: []efivar.Node{part.Node(),
			efivar.FilePath(`\EFI`), efivar.FilePath(`BOOT\BOOTX64.EFI`), efivar.End()}},
		"partition": {Attributes: efivar.Active, Description: "x", Path: []efivar.Node{part.Node(), efivar.End()}},
		"file alone": {Attributes: efivar.Active, Description: "x",
			Path: []efivar.Node{efivar.FilePath(`EFI\boot\bootx64.efi`), efivar.End()}},
		"in full": {Attributes: efivar.Active, Description: "x", Path: []efivar.Node{root, pci(2), part.Node(),
			efivar.FilePath(`\EFI\BOOT\BOOTX64.EFI`), efivar.End()}},
		"slot to be": {Attributes: efivar.Active, Description: "x", Path: file(part, `/efi/pawl/b/os.efi`)},
		"reflashed":  {Attributes: efivar.Active, Description: "Pawl", Path: file(elsewhere, `\EFI\BOOT\BOOTX64.EFI`)},
		"reflashed 2": {Attributes: efivar.Active, Description: "Pawl (start 2)",
			Path: file(elsewhere, `\EFI\BOOT\BOOTX64.EFI`)},
		"reflashed 3": {Attributes: efivar.Active, Description: "Pawl (spare loader)",
			Path: file(elsewhere, `\EFI\pawl\A\loader.efi`)},
		"named alike": {Attributes: efivar.Active, Description: "Pawl (start two)",
			Path: file(elsewhere, `\EFI\BOOT\BOOTX64.EFI`)},
		"others": {Attributes: efivar.Active, Description: "Pawl", Path: file(elsewhere, `\EFI\debian\shimx64.efi`)},
		"direct": {Attributes: efivar.Active, Description: "UKI", Path: file(part, `\EFI\pawl\A\os.efi`)},
	}
}

// firmware replaces the machine's boot options: names in order, the number of an option being its place here.
func firmware(t *testing.T, r *loadertest.Rig, order []string, current int) {
	t.Helper()
	names, err := r.Vars.List()
	require.NoError(t, err)
	for _, name := range names {
		if _, ok := name.BootNumber(); ok || name == efivar.Global("BootOrder") ||
			name == efivar.Global("BootCurrent") {
			require.NoError(t, r.Vars.Delete(name))
		}
	}
	var numbers []uint16
	for i, name := range order {
		numbers = append(numbers, uint16(i))
		if name == "dangling" {
			continue
		}
		o, ok := options(r.Partition)[name]
		require.True(t, ok, name)
		data, err := o.Encode()
		require.NoError(t, err)
		set(t, r, efivar.Boot(uint16(i)), data)
	}
	if len(numbers) > 0 {
		set(t, r, efivar.Global("BootOrder"), efivar.EncodeNumbers(numbers...))
	}
	if current >= 0 {
		require.NoError(t, r.Vars.Write(efivar.Global("BootCurrent"), efivar.Variable{Attributes: 6,
			Data: efivar.EncodeNumbers(uint16(current))}))
	}
}

func set(t *testing.T, r *loadertest.Rig, name efivar.Name, data []byte) {
	t.Helper()
	require.NoError(t, r.Vars.Write(name, efivar.Variable{Attributes: efivar.Kept, Data: data}))
}

func installed(t *testing.T) *loadertest.Rig {
	t.Helper()
	r, err := backend.Installed()
	require.NoError(t, err)
	return r
}

// fill makes slot B complete with version 2.
func fill(t *testing.T, r *loadertest.Rig) bootloader.Manifest {
	t.Helper()
	m, err := loadertest.Fill(r.FS, bootloader.B, "2")
	require.NoError(t, err)
	return m
}

func TestBootOrder(t *testing.T) {
	// The number of an option is its place in order; the new one gets the lowest free number.
	for _, c := range []struct {
		name    string
		order   []string
		current int
		want    []uint16 // nil: refused as foreign
	}{
		{"OVMF's first boot", []string{"setup", "disk", "shell"}, 1, []uint16{0, 1, 3, 2}},
		{"network first, which passed this time", []string{"setup", "network", "disk", "shell"}, 2,
			[]uint16{0, 1, 2, 4, 3}},
		{"enough already", []string{"setup", "disk", "ours", "shell"}, 1, []uint16{0, 1, 2, 3}},
		{"enough in front of what started", []string{"ours", "ours", "shell", "disk"}, 3, []uint16{0, 1, 2, 3}},
		{"one in front, one behind something else", []string{"ours", "network", "disk"}, 2, []uint16{0, 3, 1, 2}},
		{"one behind the shell", []string{"disk", "shell", "ours"}, 0, []uint16{0, 3, 1, 2}},
		{"an inactive one does not count", []string{"disk", "asleep", "shell"}, 0, []uint16{0, 3, 1, 2}},
		{"one of ours with another partition number starts nothing", []string{"ours", "moved"}, 0, []uint16{0, 2}},
		{"passed over between", []string{"ours", "setup", "dangling", "inactive", "ours"}, 0, []uint16{0, 1, 2, 3, 4}},
		{"no order at all", nil, -1, []uint16{0, 1}},
		{"nothing that is tried", []string{"setup", "inactive"}, -1, []uint16{2, 3, 0, 1}},
		{"its file on our partition is gone", []string{"stale", "disk"}, 1, []uint16{0, 1, 2}},
		{"inactive in front", []string{"inactive", "disk"}, 1, []uint16{0, 1, 2}},
		{"the firmware did not say which, and one is ours", []string{"network", "ours"}, -1, []uint16{0, 1, 2}},

		{"ours in lower case, without a slash", []string{"lower case", "ours"}, 0, []uint16{0, 1}},
		{"ours with slashes", []string{"slashes", "ours"}, 0, []uint16{0, 1}},
		{"ours in two nodes", []string{"two nodes", "ours"}, 0, []uint16{0, 1}},
		{"our partition without a file", []string{"partition", "ours"}, 0, []uint16{0, 1}},
		{"a file on any volume, which started this boot", []string{"file alone", "ours"}, 0, []uint16{0, 1}},
		{"a file on any volume", []string{"file alone", "ours"}, 1, []uint16{0, 1, 2}},
		{"the full path, which started this boot", []string{"in full", "ours"}, 0, []uint16{0, 1}},
		{"the full path", []string{"in full", "ours"}, 1, []uint16{0, 1, 2}},

		{"a slot's image in front that is still to be written", []string{"slot to be", "disk"}, 1, nil},
		{"an entry of ours for another disk in front", []string{"reflashed", "disk"}, 1, nil},
		{"another loader in front", []string{"debian", "disk"}, 1, nil},
		{"the shell in front", []string{"shell", "disk"}, 1, nil},
		{"a slot's image in front", []string{"direct", "disk"}, 1, nil},
		{"not started from the order", []string{"network", "disk"}, -1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := installed(t)
			firmware(t, r, c.order, c.current)
			m := fill(t, r)
			err := r.Prepare(bootloader.B, m, 1)
			st, stateErr := r.State()
			require.NoError(t, stateErr)
			if c.want == nil {
				require.ErrorIs(t, err, bootloader.ErrForeign)
				require.ErrorIs(t, st.Blocked, bootloader.ErrForeign)
				require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrForeign)
				require.Equal(t, efivar.EncodeNumbers(numbers(len(c.order))...), read(t, r, "BootOrder"),
					"nothing was overwritten")
				return
			}
			require.NoError(t, err)
			require.NoError(t, st.Blocked)
			require.Equal(t, efivar.EncodeNumbers(c.want...), read(t, r, "BootOrder"))
			require.NoError(t, r.Arm(bootloader.B, 1))

			// Behind the starts stands whatever stands there; a kernel that does not load comes back before it.
			require.NoError(t, r.FS.WriteFile(bootloader.B.File(bootloader.UKIFile), []byte("junk")))
			o, err := r.Boot()
			require.NoError(t, err)
			require.Equal(t, bootloader.A, o.Slot, o.String())
			require.Equal(t, 2, o.Starts)
		})
	}
}

func numbers(n int) []uint16 {
	var all []uint16
	for i := range n {
		all = append(all, uint16(i))
	}
	return all
}

func read(t *testing.T, r *loadertest.Rig, name string) []byte {
	t.Helper()
	v, err := r.Vars.Read(efivar.Global(name))
	require.NoError(t, err)
	return v.Data
}

// What a cut between Boot#### and BootOrder left is used, not made again.
func TestBootOrderUsesWhatACutLeft(t *testing.T) {
	r := installed(t)
	firmware(t, r, []string{"disk", "shell"}, 0)
	data, err := options(r.Partition)["ours"].Encode()
	require.NoError(t, err)
	set(t, r, efivar.Boot(7), data)
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	require.Equal(t, efivar.EncodeNumbers(0, 7, 1), read(t, r, "BootOrder"))
}

// Starts that went away between prepare and arm, as when the variables were reset.
func TestArmCountsStarts(t *testing.T) {
	r := installed(t)
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	firmware(t, r, []string{"setup", "disk", "shell"}, 1)
	require.ErrorContains(t, r.Arm(bootloader.B, 1), "starts the loader 1 times in a row, 2 are needed")
	st, err := r.State()
	require.NoError(t, err)
	require.NoError(t, st.Blocked, "prepare mends it")
}

// Booted from another disk's loader, which stands in front.
func TestAnotherDiskStartedThisBoot(t *testing.T) {
	r := installed(t)
	firmware(t, r, []string{"setup", "disk", "ours", "ours"}, 1)
	volatile(t, r, "LoaderDevicePartUUID", "99999999-2222-3333-4444-555555555555")
	st, err := r.State()
	require.NoError(t, err)
	require.Equal(t, bootloader.None, st.Active)
	require.ErrorIs(t, st.Blocked, bootloader.ErrForeign)
	require.ErrorIs(t, r.Prepare(bootloader.B, fill(t, r), 1), bootloader.ErrForeign)
}

func volatile(t *testing.T, r *loadertest.Rig, name, value string) {
	t.Helper()
	require.NoError(t, r.Vars.Write(efivar.Loader(name), efivar.Variable{Attributes: 6,
		Data: efivar.EncodeString(value)}))
}

// Entries of ours for a partition that no disk has any more start nothing, wherever they are: they go, and nothing of
// others does.
func TestDeadEntriesOfOursAreRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		order []string
		want  []uint16
	}{
		"in front": {[]string{"reflashed", "disk"}, []uint16{1, 2}},
		"after ten re-flashes": {[]string{"reflashed", "reflashed 2", "reflashed 3", "disk", "ours", "reflashed",
			"network", "reflashed 2"}, []uint16{3, 4, 6}},
		"but not what is named alike": {[]string{"disk", "ours", "named alike", "others", "debian", "reflashed"},
			[]uint16{0, 1, 2, 3, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			r := installed(t)
			current := slices.Index(c.order, "disk")
			firmware(t, r, c.order, current)
			data, err := options(r.Partition)["reflashed 3"].Encode()
			require.NoError(t, err)
			set(t, r, efivar.Boot(0x70), data) // BootOrder does not name it
			open := func(gone func(efivar.HardDrive) bool) *sdboot.Loader {
				l, err := sdboot.New(sdboot.Config{FS: r.FS, Vars: r.Vars, Partition: r.Partition, Gone: gone})
				require.NoError(t, err)
				return l
			}
			l := open(func(efivar.HardDrive) bool { return false })
			before := r.Vars.Clone()
			_ = l.Prepare(bootloader.B, fill(t, r), 1)
			for _, n := range append(number(t, r, "BootOrder"), 0x70) {
				_, err := r.Vars.Read(efivar.Boot(n))
				require.NoError(t, err, "another disk has that partition")
			}
			r.Vars = before

			l = open(func(efivar.HardDrive) bool { return true })
			st := state(t, l)
			require.NoError(t, st.Blocked)
			require.Contains(t, strings.Join(st.Warnings, " "), "starts nothing")
			require.NoError(t, l.Prepare(bootloader.B, fill(t, r), 1))
			require.Equal(t, c.want, number(t, r, "BootOrder"))
			names, err := r.Vars.List()
			require.NoError(t, err)
			left := 0
			for _, n := range names {
				if _, ok := n.BootNumber(); ok {
					left++
				}
			}
			require.Len(t, c.want, left)
			require.Empty(t, state(t, l).Warnings)
			require.NoError(t, l.Arm(bootloader.B, 1))
		})
	}
}
