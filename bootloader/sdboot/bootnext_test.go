package sdboot_test

import (
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/sdboot"
)

// armedDirect is a machine whose firmware is to start slot B's UKI by itself.
func armedDirect(t *testing.T) *loadertest.Rig {
	t.Helper()
	r, err := direct.Installed()
	require.NoError(t, err)
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	require.NoError(t, r.Arm(bootloader.B, 1))
	return r
}

func number(t *testing.T, r *loadertest.Rig, name string) []uint16 {
	t.Helper()
	v, err := r.Vars.Read(efivar.Global(name))
	require.NoError(t, err)
	n, err := efivar.DecodeNumbers(v.Data)
	require.NoError(t, err)
	return n
}

func TestBootNextIsArmedBesideBootOrder(t *testing.T) {
	r := armedDirect(t)
	st := state(t, r)
	require.Equal(t, bootloader.B, st.Armed)
	require.Equal(t, "BootNext", st.ArmedBy)
	next := number(t, r, "BootNext")
	require.Equal(t, []uint16{0x50}, next)
	require.NotContains(t, number(t, r, "BootOrder"), next[0])
	o, err := r.Boot()
	require.NoError(t, err)
	require.Equal(t, bootloader.B, o.Slot)
	require.Empty(t, o.Entry, "without the loader")
	require.Zero(t, o.Starts)

	// The way that is set does not matter to what is armed: either takes back what the other did.
	r = armedDirect(t)
	other, err := backend.Rig(r.Machine)
	require.NoError(t, err)
	require.Equal(t, bootloader.B, state(t, other).Armed)
	require.NoError(t, other.Disarm())
	require.Equal(t, bootloader.None, state(t, other).Armed)
	require.NoError(t, other.Prepare(bootloader.B, fill(t, r), 1))
	require.NoError(t, other.Arm(bootloader.B, 1))
	require.Equal(t, "LoaderEntryOneShot", state(t, other).ArmedBy)
	again, err := direct.Rig(r.Machine)
	require.NoError(t, err)
	require.NoError(t, again.Disarm())
	require.Equal(t, bootloader.None, state(t, again).Armed)
}

// A BootNext of somebody else is left alone, also when it starts our own loader.
func TestForeignBootNext(t *testing.T) {
	r := armedDirect(t)
	set(t, r, efivar.Global("BootNext"), efivar.EncodeNumbers(number(t, r, "BootOrder")[0]))
	require.Equal(t, bootloader.None, state(t, r).Armed)
	require.ErrorIs(t, r.Disarm(), bootloader.ErrForeign)
	require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrForeign)
	require.Equal(t, number(t, r, "BootOrder")[:1], number(t, r, "BootNext"), "not overwritten")
}

// OVMF may give the number of an option that BootOrder does not name to one of its own.
func TestBootOptionOfTheSlotIsLost(t *testing.T) {
	r, err := direct.Installed()
	require.NoError(t, err)
	m := fill(t, r)
	require.NoError(t, r.Prepare(bootloader.B, m, 1))
	require.NoError(t, r.Vars.Delete(efivar.Boot(0x50)))
	require.ErrorContains(t, r.Arm(bootloader.B, 1), "prepare the slot again")
	require.NoError(t, r.Prepare(bootloader.B, m, 1))
	require.NoError(t, r.Arm(bootloader.B, 1))
	require.NoError(t, r.FS.Remove(bootloader.B.File(bootloader.UKIFile)))
	require.Equal(t, bootloader.None, state(t, r).Armed)
	require.Contains(t, state(t, r).Warnings[len(state(t, r).Warnings)-1], "has no os.efi")
	boot(t, r, bootloader.A)
}

// The trial was not started from BootOrder, in which the firmware's own option for the disk may be the only one.
func TestTrialByBootNextArmsItselfAgain(t *testing.T) {
	r := armedDirect(t)
	require.NoError(t, r.Vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeNumbers(1)}))
	_, err := r.Boot()
	require.NoError(t, err)
	trial, err := direct.Rig(r.Machine)
	require.NoError(t, err)
	require.Equal(t, bootloader.B, state(t, trial).Active)
	require.NoError(t, trial.Arm(bootloader.B, 2))
	boot(t, trial, bootloader.B)
	boot(t, trial, bootloader.A)
}

func TestBootNextStartsUKIsOnly(t *testing.T) {
	r, err := triedBy(sdboot.BootNext, true).Installed()
	require.NoError(t, err)
	m, err := r.Fill(r.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.ErrorContains(t, r.Prepare(bootloader.B, m, 1), "the slot has none (try it by one-shot)")
	require.Error(t, r.Bootloader.(*sdboot.Loader).TryBy("twice"))
	require.NoError(t, r.Bootloader.(*sdboot.Loader).TryBy(""))
	require.NoError(t, r.Prepare(bootloader.B, m, 1))
}

// An option that started this boot is known by that to start our loader, also if it cannot be read. A trial by BootNext
// comes another way and knows nothing of it, so it could not arm its next try: such a machine is told to be blocked.
func TestTheOptionThatStartedThisBootCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		way     loadertest.Subject
		refused bool
	}{"boot-next": {direct, true}, "one-shot": {backend, false}} {
		t.Run(name, func(t *testing.T) {
			r := installed(t)
			r = boot(t, r, bootloader.A)
			r, err := c.way.Rig(r.Machine)
			require.NoError(t, err)
			require.NoError(t, state(t, r).Blocked)
			started := number(t, r, "BootCurrent")[0]
			require.Contains(t, number(t, r, "BootOrder"), started)
			r.Vars.Unreadable = map[efivar.Name]error{efivar.Boot(started): syscall.EIO}
			blocked := state(t, r).Blocked
			if !c.refused {
				require.NoError(t, blocked)
				return
			}
			require.ErrorIs(t, blocked, bootloader.ErrForeign)
			require.ErrorContains(t, blocked, efivar.Boot(started).Name+" started this boot and cannot be read")
			require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 2))
			require.ErrorIs(t, r.Arm(bootloader.B, 2), bootloader.ErrForeign)
		})
	}
}

// Firmware that does not use BootNext up, and an option that can no longer be read: what BootNext names started this
// boot, so the confirm takes it away.
func TestABootNextThatIsLeftGoesWithTheConfirm(t *testing.T) {
	r := armedDirect(t)
	_, err := r.Boot()
	require.NoError(t, err)
	n := number(t, r, "BootCurrent")[0]
	require.Equal(t, uint16(0x50), n)
	for name, left := range map[string]uint16{"ours": n, "another's": n + 1} {
		t.Run(name, func(t *testing.T) {
			m := r.Machine.Clone()
			require.NoError(t, m.Vars.Write(efivar.Global("BootNext"), efivar.Variable{Attributes: efivar.Kept,
				Data: efivar.EncodeNumbers(left)}))
			m.Vars.Unreadable = map[efivar.Name]error{efivar.Boot(n): syscall.EIO, efivar.Boot(n + 1): syscall.EIO}
			trial, err := direct.Rig(m)
			require.NoError(t, err)
			require.NoError(t, trial.Confirm(bootloader.B))
			_, err = m.Vars.Read(efivar.Global("BootNext"))
			if left == n {
				require.ErrorIs(t, err, fs.ErrNotExist)
			} else {
				require.NoError(t, err)
			}
		})
	}
}
