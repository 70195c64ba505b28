package sdboot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// readOnly is the firmware's variables as a system may only read them.
type readOnly struct{ efivar.Store }

var errReadOnly = fmt.Errorf("mounted read-only: %w", efivar.ErrNotKept)

func (readOnly) Write(efivar.Name, efivar.Variable) error { return errReadOnly }
func (readOnly) Writable() error                          { return errReadOnly }
func (r readOnly) Delete(n efivar.Name) error {
	if _, err := r.Read(n); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errReadOnly
}

// without are systems that cannot keep variables: they read them and have a UKI, or have none at all and a kernel.
func without() map[string]loadertest.Subject {
	reads, none := counting, triedBy(sdboot.Counting, true)
	reads.Vars = func(vars efivar.Store) efivar.Store {
		if vars == nil {
			return nil
		}
		return readOnly{vars}
	}
	none.Vars = func(efivar.Store) efivar.Store { return nil }
	return map[string]loadertest.Subject{"read-only": reads, "none": none}
}

func TestCountingNeedsNoVariables(t *testing.T) {
	for name, b := range without() {
		t.Run(name, func(t *testing.T) {
			r, err := b.Installed()
			require.NoError(t, err)
			next := func(want bootloader.Slot, version string, trial bool) {
				t.Helper()
				o, err := r.Boot()
				require.NoError(t, err)
				require.Equal(t, want, o.Slot, "%v", o)
				require.Equal(t, r.Manifest(version).Files[0].SHA256, o.Digest)
				require.Equal(t, trial, o.Trial)
				r, err = b.Rig(r.Machine)
				require.NoError(t, err)
				require.Equal(t, want, state(t, r).Active)
			}
			require.NoError(t, state(t, r).Blocked)
			warnings := strings.Join(state(t, r).Warnings, " ")
			require.Contains(t, warnings, "until its power is cycled")
			require.Contains(t, warnings, "leaves nothing that boots")
			m, err := r.Fill(r.FS, bootloader.B, "2")
			require.NoError(t, err)
			require.NoError(t, r.Prepare(bootloader.B, m, 3))
			next(bootloader.A, "1", false)
			require.NoError(t, r.Arm(bootloader.B, 3))
			require.Equal(t, "pawl-b+3-0.conf", state(t, r).ArmedBy)
			for left := 3; left > 0; left-- {
				st := state(t, r)
				require.Equal(t, []any{bootloader.A, bootloader.B, left, false}, []any{st.Default, st.Armed, st.Tries,
					st.Again})
				next(bootloader.B, "2", true)
				require.True(t, state(t, r).Trial())
			}
			require.False(t, state(t, r).Again, "the loader counts: with nothing left no trial arms itself")
			next(bootloader.A, "1", false)
			require.Equal(t, bootloader.None, state(t, r).Armed)

			require.NoError(t, r.Disarm())
			require.NoError(t, r.Prepare(bootloader.B, m, 2))
			require.NoError(t, r.Arm(bootloader.B, 2))
			next(bootloader.B, "2", true)
			require.NoError(t, r.Confirm(bootloader.B))
			for range 3 {
				next(bootloader.B, "2", false)
			}
			require.Equal(t, bootloader.B, state(t, r).Default)
			require.Contains(t, content(t, r, conf), "default pawl-b.conf\n")

			// And the way back: what is left of the old count is no entry.
			require.NoError(t, r.Prepare(bootloader.A, r.Manifest("1"), 1))
			require.NoError(t, r.Arm(bootloader.A, 1))
			next(bootloader.A, "1", true)
			require.NoError(t, r.Disarm())
			next(bootloader.B, "2", false)
		})
	}
}

// A UKI's entry counts with every release: from 258 on not by the key efi, and before it not by the key uki.
func TestEveryReleaseCounts(t *testing.T) {
	for _, release := range []string{"252.39-1~deb12u2", "257.13-1~deb13u1", "260", "262.1-1"} {
		r, err := counting.Installed()
		require.NoError(t, err)
		require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.LoaderOf("amd64", release)))
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 2))
		require.NoError(t, r.Arm(bootloader.B, 2))
		require.Equal(t, bootloader.B, state(t, r).Armed)
		for _, want := range []bootloader.Slot{bootloader.B, bootloader.B, bootloader.A, bootloader.A} {
			boot(t, r, want)
		}
	}
}

// Until it is armed there is no entry that would sort first, so a loader.conf that is destroyed meanwhile costs
// nothing.
func TestCountedEntryIsEmptyUntilItIsArmed(t *testing.T) {
	r, err := counting.Installed()
	require.NoError(t, err)
	m := fill(t, r)
	destroyed := func() *loadertest.Rig {
		t.Helper()
		c, err := counting.Rig(r.Clone())
		require.NoError(t, err)
		require.NoError(t, c.FS.Overwrite(conf, []byte(strings.Repeat("\xa5", 512))))
		return c
	}
	require.NoError(t, r.Prepare(bootloader.B, m, 3))
	boot(t, destroyed(), bootloader.A)
	require.NoError(t, r.Arm(bootloader.B, 3))
	boot(t, destroyed(), bootloader.B) // armed it is, and counted
	require.NoError(t, r.Disarm())
	boot(t, destroyed(), bootloader.A)
}

// What a killed run left is found, whatever way is set: no file of a count is an entry once something is disarmed or
// prepared.
func TestLeftoversOfCounting(t *testing.T) {
	entry := "title Pawl\nversion 2\nsort-key !\nefi /EFI/pawl/B/os.efi\n"
	for name, b := range map[string]loadertest.Subject{"one-shot": backend, "counting": counting} {
		t.Run(name, func(t *testing.T) {
			r, err := b.Installed()
			require.NoError(t, err)
			m := fill(t, r)
			require.NoError(t, r.Prepare(bootloader.B, m, 1))
			for _, left := range []string{"pawl-b+2-1.conf", "pawl-b+7.conf"} {
				require.NoError(t, r.FS.WriteFile("loader/entries/"+left,
					[]byte(entry+strings.Repeat("\n", 512-len(entry)))))
			}
			require.Equal(t, bootloader.None, state(t, r).Armed, "loader.conf names the default")
			boot(t, r, bootloader.A)
			require.NoError(t, r.Disarm())
			require.Empty(t, strings.TrimSpace(content(t, r, "loader/entries/pawl-b+2-1.conf")))
			require.NoError(t, r.Prepare(bootloader.B, m, 1))
			require.NoError(t, r.Arm(bootloader.B, 1))
			r = boot(t, r, bootloader.B)
			boot(t, r, bootloader.A)
		})
	}
}

// What others call so is not ours to write to.
func TestCountedEntriesOfOthersAreLeft(t *testing.T) {
	r, err := backend.Installed()
	require.NoError(t, err)
	m := fill(t, r)
	const theirs = "loader/entries/pawl-b+3.conf"
	require.NoError(t, r.FS.WriteFile(theirs, []byte("title theirs\nefi /EFI/theirs.efi\n")))
	require.NoError(t, r.Prepare(bootloader.B, m, 1))
	require.NoError(t, r.Arm(bootloader.B, 1))
	require.NoError(t, r.Disarm())
	require.Contains(t, strings.Join(state(t, r).Warnings, " "), theirs+" is not ours")
	data, err := r.FS.ReadFile(theirs)
	require.NoError(t, err)
	require.Contains(t, string(data), "title theirs")
}

func TestCountingIsRefusedWhereTheOrderWouldNotDecide(t *testing.T) {
	for name, arrange := range map[string]func(*testing.T, *loadertest.Rig){
		"LoaderEntryDefault is set": func(t *testing.T, r *loadertest.Rig) {
			set(t, r, efivar.Loader("LoaderEntryDefault"), efivar.EncodeString("pawl-a.conf"))
		},
		"debian.conf may come before": func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t, r.FS.WriteFile("loader/entries/debian.conf",
				[]byte("title Debian\nefi /EFI/BOOT/BOOTX64.EFI\n")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := counting.Installed()
			require.NoError(t, err)
			require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
			arrange(t, r)
			err = r.Arm(bootloader.B, 1)
			require.ErrorIs(t, err, bootloader.ErrForeign)
			require.ErrorContains(t, err, name)
			require.NoError(t, r.Bootloader.(*sdboot.Loader).TryBy("one-shot"))
			require.NoError(t, r.Prepare(bootloader.B, r.Manifest("2"), 1))
			require.NoError(t, r.Arm(bootloader.B, 1))
		})
	}
}
