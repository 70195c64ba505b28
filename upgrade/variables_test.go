package upgrade_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// Firmware that takes the first n changes of an upgrade and refuses the next: the upgrade says so, nothing is armed,
// the default boots, and with better firmware the same upgrade ends right.
func TestVariablesThatAreRefused(t *testing.T) {
	for n := 0; ; n++ {
		r := start(t)
		two := r.image("2.0.0")
		changes := 0
		r.Vars.BeforeWrite = func(efivar.Name, []byte) error {
			if changes++; changes > n {
				return fmt.Errorf("no space left on device: %w", efivar.ErrNotKept)
			}
			return nil
		}
		_, err := r.Upgrade(t.Context(), two,
			upgrade.Options{Tries: 2}) // for one there are starts enough since the first boot
		r.Vars.BeforeWrite = nil
		if err == nil {
			require.Greater(t, n, 1, "an upgrade changes at least BootOrder, an entry in it, and what arms")
			return
		}
		require.ErrorIs(t, err, bootloader.ErrNoVariables)
		require.ErrorContains(t, err, "e variable ")
		require.Equal(t, bootloader.None, r.status().Loader.Armed)
		if a := r.status().Attempt; a != nil {
			require.NotEqual(t, attempt.Armed, a.State)
		}
		r.boots(bootloader.A, "1.0.0")
		r.upgrade(two)
		r.boots(bootloader.B, "2.0.0")
	}
}

// A firmware that is full is asked, by a variable as large as all that the upgrade will write, before the disk is
// touched.
func TestVariablesWithoutRoomAreFoundBeforeTheDiskIsTouched(t *testing.T) {
	for what, refuses := range map[string]func(efivar.Name, []byte) bool{
		"no room for anything":                 func(_ efivar.Name, value []byte) bool { return value != nil },
		"room for the trial, not for the rest": func(_ efivar.Name, value []byte) bool { return len(value) > 100 },
		"nothing is ever deleted":              func(_ efivar.Name, value []byte) bool { return value == nil },
	} {
		t.Run(what, func(t *testing.T) {
			r := start(t)
			r.upgrade(r.image("2.0.0"))
			r.boots(bootloader.B, "2.0.0")
			r.confirm()
			img := r.image("3.0.0")
			before := r.Vars.Values()
			r.Vars.BeforeWrite = func(name efivar.Name, value []byte) error {
				if refuses(name, value) {
					return fmt.Errorf("no space left on device: %w", efivar.ErrNotKept)
				}
				return nil
			}
			r.Disk.Record()
			for _, do := range []func() error{
				func() error { _, err := r.Upgrade(t.Context(), img, upgrade.Options{Tries: 2}); return err },
				func() error {
					m, err := r.Open()
					require.NoError(t, err)
					_, err = m.Rollback(t.Context(), upgrade.Options{Tries: 2})
					return err
				},
			} {
				err := do()
				require.ErrorIs(t, err, bootloader.ErrNoVariables)
				require.ErrorContains(t, err, "delete boot entries that nothing needs")
			}
			require.Empty(t, r.Disk.Trace().Ops)
			for name, value := range before {
				require.Equal(t, value, r.Vars.Values()[name], name)
			}
			r.Vars.BeforeWrite = nil
			r.boots(bootloader.B, "2.0.0")
			r.upgrade(img)
			r.boots(bootloader.A, "3.0.0")
			require.Len(t, r.Vars.Values(), len(before), "what was tried is gone")
		})
	}
}

// readOnly is a store that says beforehand that nothing can be written, as efivarfs mounted read-only does.
type readOnly struct{ *efivar.Memory }

func (readOnly) Writable() error { return fmt.Errorf("mounted read-only: %w", efivar.ErrNotKept) }

func TestVariablesThatAreReadOnlyAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	r := start(t)
	r.Vars.BeforeWrite = func(efivar.Name, []byte) error {
		return fmt.Errorf("written all the same: %w",
			efivar.ErrNotKept)
	}
	r.Disk.Record()
	m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: readOnly{r.Vars},
		Cmdline: new(string), BootID: "x", Version: "1.0.0"})
	require.NoError(t, err)
	_, err = m.Apply(t.Context(), r.image("2.0.0"), upgrade.Options{})
	require.ErrorIs(t, err, bootloader.ErrNoVariables)
	require.ErrorContains(t, err, "mounted read-only")
	require.Empty(t, r.Disk.Trace().Ops)

	a, err := m.Confirm(t.Context(), upgrade.Options{})
	require.NoError(t, err, "what runs can be confirmed all the same")
	require.Nil(t, a)
}

// keeping is a store that does not let go of one variable, nor let it be changed, as far as it says.
type keeping struct {
	*efivar.Memory
	name            efivar.Name
	deletes, writes bool
}

func (k keeping) Delete(name efivar.Name) error {
	if name == k.name && !k.deletes {
		return fmt.Errorf("delete variable %s: %w", name.Name, efivar.ErrNotKept)
	}
	return k.Memory.Delete(name)
}

func (k keeping) Write(name efivar.Name, v efivar.Variable) error {
	if name == k.name && !k.writes {
		return fmt.Errorf("write variable %s: %w", name.Name, efivar.ErrNotKept)
	}
	return k.Memory.Write(name, v)
}

// A firmware that does not use up what starts a trial: the first call of Started in it takes that back, by whatever the
// firmware allows, so a trial that dies is not started again; and a good one is confirmed.
func TestAOneShotThatIsNotUsedUp(t *testing.T) {
	for _, way := range []string{"one-shot", "boot-next"} {
		for how, k := range map[string]keeping{
			"deleted by the system":          {deletes: true, writes: true},
			"which cannot be deleted":        {writes: true},
			"which cannot be written either": {},
			"with META destroyed":            {deletes: true, writes: true},
		} {
			if way == "boot-next" && !k.deletes {
				continue // the firmware starts that UKI whatever is done
			}
			for _, good := range []bool{false, true} {
				t.Run(fmt.Sprint(way, " ", how, " ", good), func(t *testing.T) {
					r := start(t)
					m, err := r.Open()
					require.NoError(t, err)
					_, err = m.Apply(t.Context(), r.image("2.0.0"), upgrade.Options{Way: way, Tries: 2})
					require.NoError(t, err)
					k.Memory, k.name = r.Vars, efivar.Loader("LoaderEntryOneShot")
					if way == "boot-next" {
						k.name = efivar.Global("BootNext")
					}
					armed, err := r.Vars.Read(k.name)
					require.NoError(t, err)
					power := func() bootloader.Slot {
						was, err := r.Vars.Read(k.name)
						require.NoError(t, r.Boot())
						if err == nil {
							require.NoError(t, r.Vars.Write(k.name, was))
						}
						return r.Last.Slot
					}
					open := func(version string) *upgrade.Machine {
						m, err := upgrade.OpenDevice(r.Disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: k,
							Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: version, Now: virtual.Now})
						require.NoError(t, err)
						return m
					}
					require.Equal(t, bootloader.B, power())
					if how == "with META destroyed" {
						off, size := r.at("META")
						r.junk(off, int(size/512))
					}
					m = open("2.0.0")
					for range 2 { // it may be called again
						b, err := m.Started(t.Context())
						require.NoError(t, err)
						require.True(t, b.Trial)
					}
					st, err := m.Loader.State()
					require.NoError(t, err)
					require.Equal(t, bootloader.None, st.Armed, "of %x", armed.Data)
					if good {
						_, err = open("2.0.0").Confirm(t.Context(), upgrade.Options{})
						require.NoError(t, err)
						require.Equal(t, bootloader.B, power())
						st, err = open("2.0.0").Loader.State()
						require.NoError(t, err)
						require.False(t, st.Trial())
						return
					}
					require.Equal(t, bootloader.A, power(), "it died")
					b, err := open("1.0.0").Started(t.Context())
					require.NoError(t, err)
					if how != "with META destroyed" {
						require.True(t, b.Ended)
						require.Equal(t, 1, b.Attempt.Trials)
					}
				})
			}
		}
	}
}

// What others left in the firmware goes by a repair, and what boots by itself stays; during a trial it is refused.
func TestRepair(t *testing.T) {
	r := start(t)
	gone := efivar.HardDrive{Number: 1, First: 2048, Sectors: 4096, GUID: efivar.GUID{9}}
	dead, err := efivar.LoadOption{
		Attributes: efivar.Active, Description: "Pawl",
		Path: []efivar.Node{gone.Node(), efivar.FilePath(`\EFI\BOOT\BOOTX64.EFI`), efivar.End()},
	}.Encode()
	require.NoError(t, err)
	order, err := r.Vars.Read(efivar.Global("BootOrder"))
	require.NoError(t, err)
	r.set(efivar.Boot(0x60), dead)
	require.NoError(t, r.Vars.Write(efivar.Global("BootOrder"), efivar.Variable{Attributes: efivar.Kept,
		Data: append([]byte{0x60, 0}, order.Data...)}))
	r.set(efivar.Loader("LoaderEntryDefault"), efivar.EncodeString("pawl-b.conf"))
	d := r.diagnose()
	require.Equal(t, doctor.Degraded, d.Severity())
	require.NoError(t, d.Status.Loader.Blocked, "an upgrade would remove them")
	m, err := r.Open()
	require.NoError(t, err)
	require.NoError(t, m.Repair(t.Context()))
	require.Empty(t, r.status().Loader.Warnings)
	require.Equal(t, doctor.Fine, r.diagnose().Severity())
	after, err := r.Vars.Read(efivar.Global("BootOrder"))
	require.NoError(t, err)
	require.Equal(t, order.Data, after.Data)
	r.upgrade(r.image("2.0.0"))
	m, err = r.Open()
	require.NoError(t, err)
	require.ErrorContains(t, m.Repair(t.Context()), "is armed")
	r.boots(bootloader.B, "2.0.0")
	m, err = r.Open()
	require.NoError(t, err)
	require.ErrorContains(t, m.Repair(t.Context()), "on trial")
}

// One variable that is there and cannot be read, or is malformed, costs a good trial neither Started nor its
// confirmation; status and doctor answer.
func TestOneOddVariableInATrial(t *testing.T) {
	r := start(t)
	r.upgrade(r.image("2.0.0"))
	require.NoError(t, r.Boot())
	disk, vars := r.Disk.Clone(), r.Vars.Clone()
	names := []efivar.Name{efivar.Boot(0), efivar.Boot(1), efivar.Boot(2), efivar.Boot(0x99)}
	for _, n := range []string{"BootOrder", "BootNext", "BootCurrent", "SecureBoot", "OsIndications"} {
		names = append(names, efivar.Global(n))
	}
	for _, n := range []string{
		"LoaderEntryOneShot", "LoaderEntryDefault", "LoaderEntryPreferred", "LoaderEntrySysFail", "LoaderConfigTimeout",
		"LoaderConfigTimeoutOneShot", "LoaderInfo", "LoaderFeatures", "LoaderImageIdentifier", "LoaderEntryLastBooted",
	} {
		names = append(names, efivar.Loader(n))
	}
	for _, name := range names {
		for _, data := range [][]byte{nil, {1}, {1, 0, 2}, []byte("x\x00y\x00")} {
			t.Run(fmt.Sprintf("%s %x", name.Name, data), func(t *testing.T) {
				r.Disk, r.Vars = disk.Clone(), vars.Clone()
				if data == nil {
					r.Vars.Unreadable = map[efivar.Name]error{name: fmt.Errorf("read variable %s: input/output error",
						name.Name)}
				} else {
					require.NoError(t, r.Vars.Delete(name))
					r.set(name, data)
				}
				b, err := r.Started(t.Context())
				require.NoError(t, err)
				require.True(t, b.Trial)
				require.NotNil(t, b.Attempt)
				require.True(t, r.status().Loader.Trial())
				_ = r.diagnose()
				a, err := r.Confirm(t.Context())
				require.NoError(t, err)
				require.Equal(t, attempt.Confirmed, a.Result)
				require.False(t, r.status().Loader.Trial())
			})
		}
	}
}
