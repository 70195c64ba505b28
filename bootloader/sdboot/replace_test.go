package sdboot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
)

// Where the spare loader stands in BootOrder: directly behind the starts of the loader, or it would be none. The number
// of an option is its place in order; a new one gets the lowest free number.
func TestSpareLoaderStandsBehindTheStarts(t *testing.T) {
	for _, c := range []struct {
		name    string
		order   []string
		current int
		want    []uint16 // nil: refused, and nothing is written
	}{
		{"OVMF's usual", []string{"setup", "disk", "ours", "shell"}, 1, []uint16{0, 1, 2, 4, 3}},
		{"two of our own", []string{"ours", "ours", "network", "shell"}, 0, []uint16{0, 1, 4, 2, 3}},
		{"passed over between", []string{"disk", "asleep", "ours", "dangling", "shell"}, 0, []uint16{0, 1, 2, 5, 3, 4}},
		{"there already", []string{"disk", "ours", "spare", "shell"}, 0, []uint16{0, 1, 2, 3}},
		{"there, of the other slot", []string{"disk", "ours", "other spare", "shell"}, 0, []uint16{0, 1, 2, 3}},
		{"behind the shell", []string{"disk", "ours", "shell", "spare"}, 0, []uint16{0, 1, 3, 2}},
		{"it started this boot", []string{"disk", "ours", "spare", "shell"}, 2, []uint16{0, 1, 2, 3}},
		{"last of all", []string{"disk", "ours"}, 0, []uint16{0, 1, 2}},

		{"no entry of our own", []string{"setup", "disk", "shell"}, 1, nil},
		{"our own behind the shell", []string{"disk", "shell", "ours"}, 0, nil},
		{"another system in front", []string{"debian", "disk", "ours"}, 1, nil},
		{"no variables that tell", nil, -1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := installed(t)
			firmware(t, r, c.order, c.current)
			own := loadertest.LoaderOf("amd64", "253")
			require.NoError(t, r.FS.WriteFile(bootloader.A.File(bootloader.LoaderFile), own))
			l := r.Bootloader.(bootloader.Replacer)
			before := r.Vars.Values()
			err := l.Replace(bootloader.A, bootloader.ReplaceOptions{})
			if c.want == nil {
				require.ErrorIs(t, err, bootloader.ErrRisk)
				require.Equal(t, before, r.Vars.Values())
				return
			}
			require.NoError(t, err)
			require.Equal(t, efivar.EncodeNumbers(c.want...), read(t, r, "BootOrder"))
			again := r.Vars.Values()
			require.NoError(t, l.Replace(bootloader.A, bootloader.ReplaceOptions{}))
			require.Equal(t, again, r.Vars.Values())
			got, err := r.FS.ReadFile("EFI/BOOT/BOOTX64.EFI")
			require.NoError(t, err)
			require.Equal(t, own, got)
			require.NoError(t, r.FS.Remove("EFI/BOOT/BOOTX64.EFI"))
			o, err := r.Boot()
			require.NoError(t, err)
			require.Equal(t, bootloader.A, o.Slot, o.String())
			st, err := r.State()
			require.NoError(t, err)
			require.ErrorContains(t, st.Blocked, "the loader cannot be found")
		})
	}
}

// The first boot of a machine adds an entry of its own, once, and before the network and the shell.
func TestEntryOfOurOwn(t *testing.T) {
	for _, c := range []struct {
		name    string
		order   []string
		current int
		want    []uint16 // nil: refused
	}{
		{"OVMF's first boot", []string{"setup", "disk", "network", "shell"}, 1, []uint16{0, 1, 4, 2, 3}},
		{"there is one", []string{"disk", "ours", "shell"}, 0, []uint16{0, 1, 2}},
		{"there is one, behind the shell", []string{"disk", "shell", "ours"}, 0, []uint16{0, 3, 1, 2}},
		{"another system in front", []string{"debian", "disk"}, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := installed(t)
			firmware(t, r, c.order, c.current)
			err := r.Bootloader.(bootloader.Replacer).EnsureStart()
			if c.want == nil {
				require.ErrorIs(t, err, bootloader.ErrForeign)
				require.Equal(t, efivar.EncodeNumbers(numbers(len(c.order))...), read(t, r, "BootOrder"))
				return
			}
			require.NoError(t, err)
			require.Equal(t, efivar.EncodeNumbers(c.want...), read(t, r, "BootOrder"))
			require.NoError(t, r.Bootloader.(bootloader.Replacer).EnsureStart())
			require.Equal(t, efivar.EncodeNumbers(c.want...), read(t, r, "BootOrder"))
		})
	}
}
