package sdboot_test

import (
	"bytes"
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

const newVersion = "262.1-1"

// with gives the machine a loader of another version, and boots it once.
func with(t *testing.T, r *loadertest.Rig, version string) *loadertest.Rig {
	t.Helper()
	require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.LoaderOf("amd64", version)))
	return boot(t, r, bootloader.A)
}

// A variable that names a slot and was written by somebody else: the version that is prepared never boots by itself,
// and what is confirmed stays, whatever the variable names and whether or not the slot is there already.
func TestAVariableThatOutranksLoaderConfIsTakenAway(t *testing.T) {
	for _, version := range []string{thisVersion, "259", newVersion} {
		for _, name := range []string{"LoaderEntryDefault", "LoaderEntryPreferred"} {
			for _, value := range []string{"pawl-a.conf", "pawl-b.conf", "PAWL-B.conf", "pawl-b+3-0.conf"} {
				t.Run(strings.Join([]string{version, name, value}, " "), func(t *testing.T) {
					r := with(t, installed(t), version)
					set(t, r, efivar.Loader(name), efivar.EncodeString(value))
					st := state(t, r)
					require.NoError(t, st.Blocked)
					require.Equal(t, bootloader.A, st.Default)
					require.Contains(t, strings.Join(st.Warnings, " "), name)

					require.NoError(t, r.Withdraw(bootloader.B))
					require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
					require.Empty(t, state(t, r).Warnings)
					boot(t, r, bootloader.A)
					require.NoError(t, r.Arm(bootloader.B, 1))
					boot(t, boot(t, &loadertest.Rig{Machine: r.Machine.Clone()}, bootloader.B), bootloader.A)
					r = boot(t, r, bootloader.B)
					require.NoError(t, r.Confirm(bootloader.B))
					boot(t, boot(t, r, bootloader.B), bootloader.B)
				})
			}
		}
	}
}

// It may also come later: between prepare and arm, and while the trial runs.
func TestAVariableThatOutranksLoaderConfAppears(t *testing.T) {
	for _, name := range []string{"LoaderEntryDefault", "LoaderEntryPreferred"} {
		r := with(t, installed(t), newVersion)
		m := fill(t, r)
		require.NoError(t, r.Prepare(bootloader.B, m, 1))
		set(t, r, efivar.Loader(name), efivar.EncodeString("pawl-a.conf"))
		require.ErrorContains(t, r.Arm(bootloader.B, 1), "prepare the slot again")
		require.NoError(t, r.Prepare(bootloader.B, m, 1))
		require.NoError(t, r.Arm(bootloader.B, 1))
		r = boot(t, r, bootloader.B)
		set(t, r, efivar.Loader(name), efivar.EncodeString("pawl-a.conf"))
		require.True(t, state(t, r).Trial())
		require.NoError(t, r.Confirm(bootloader.B))
		boot(t, r, bootloader.B)
	}
}

// systemd-boot 262 with LoaderEntryPreferred for A and loader.conf for B: A is what boots by itself.
func TestPreferredNamesTheOtherSlot(t *testing.T) {
	r := upgraded(t)
	require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.LoaderOf("amd64", newVersion)))
	set(t, r, efivar.Loader("LoaderEntryPreferred"), efivar.EncodeString("pawl-a.conf"))
	r = boot(t, r, bootloader.A)
	st := state(t, r)
	require.Equal(t, bootloader.A, st.Default)
	require.False(t, st.Trial())
	require.Error(t, r.Withdraw(bootloader.A))
	require.NoError(t, r.Withdraw(bootloader.B))
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	require.NoError(t, r.Arm(bootloader.B, 1))
	r = boot(t, r, bootloader.B)
	require.NoError(t, r.Confirm(bootloader.B))
	boot(t, boot(t, r, bootloader.B), bootloader.B)

	old := upgraded(t) // whose loader does not look at it
	set(t, old, efivar.Loader("LoaderEntryPreferred"), efivar.EncodeString("pawl-a.conf"))
	require.Equal(t, bootloader.B, state(t, boot(t, old, bootloader.B)).Default)
}

// The same in loader.conf, which somebody edited in place.
func TestLoaderConfPrefersASlot(t *testing.T) {
	for _, c := range []struct {
		version, preferred string
		want               bootloader.Slot
		foreign            bool
	}{
		{newVersion, "pawl-a.conf", bootloader.A, false},
		{thisVersion, "pawl-a.conf", bootloader.B, false},
		{newVersion, "gone.conf", bootloader.B, false},
		{newVersion, "pawl-*", bootloader.None, true},
	} {
		r := upgraded(t)
		require.NoError(t, r.FS.WriteFile("EFI/BOOT/BOOTX64.EFI", loadertest.LoaderOf("amd64", c.version)))
		r = boot(t, r, bootloader.B)
		require.NoError(t, r.FS.Overwrite(conf, sector("default pawl-b.conf\npreferred "+c.preferred+"\ntimeout 0\n")))
		require.Equal(t, c.foreign, errors.Is(state(t, r).Blocked, bootloader.ErrForeign), c)
		if c.foreign {
			require.NoError(t, r.Confirm(bootloader.B))
			require.NoError(t, state(t, r).Blocked)
			continue
		}
		r = boot(t, r, c.want)
		require.Equal(t, c.want, state(t, r).Default)
		require.NoError(t, r.Withdraw(c.want.Other()))
		boot(t, r, c.want)
		require.Equal(t, fmt.Sprintf("default pawl-%s.conf\ntimeout 0", strings.ToLower(string(c.want))),
			content(t, r, conf))
	}
}

// What only a person can decide is refused by its name, with the command that deletes it.
func TestVariablesThatAreRefused(t *testing.T) {
	for name, values := range map[string][]string{
		"LoaderEntryDefault":         {"*", "pawl-?.conf", "pawl-[ab].conf", "@saved"},
		"LoaderEntryPreferred":       {"*", "pawl-?.conf", "@saved"},
		"LoaderEntrySysFail":         {"pawl-b.conf", "*"},
		"LoaderConfigTimeout":        {"menu-force", "4294967295", "99999999999"},
		"LoaderConfigTimeoutOneShot": {"0", "menu-hidden", "menu-force"},
	} {
		for _, value := range values {
			for _, version := range []string{thisVersion, newVersion} {
				r := with(t, installed(t), version)
				m := fill(t, r)
				require.NoError(t, r.Prepare(bootloader.B, m, 1))
				set(t, r, efivar.Loader(name), efivar.EncodeString(value))
				blocked := state(t, r).Blocked
				require.ErrorIs(t, blocked, bootloader.ErrForeign, name+value)
				require.ErrorContains(t, blocked, name)
				require.ErrorContains(t, blocked, `(bootctl set-`)
				require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrForeign)
			}
		}
	}
	for name, value := range map[string]string{
		"LoaderEntryDefault": "gone.conf", "LoaderEntryPreferred": "", "LoaderEntrySysFail": "pawl-a.conf",
		"LoaderConfigTimeout": "10", "LoaderConfigTimeoutOneShot": "10", "LoaderEntryLastBooted": "pawl-b.conf",
	} {
		r := with(t, installed(t), newVersion)
		set(t, r, efivar.Loader(name), efivar.EncodeString(value))
		require.NoError(t, state(t, r).Blocked, name)
	}
}

// A newer loader may look at what nobody knows yet.
func TestFeaturesThatAreNotKnownAreNamed(t *testing.T) {
	r := with(t, installed(t), newVersion)
	require.Empty(t, state(t, r).Warnings, "all of 262 are known")
	key := efivar.Loader("LoaderFeatures")
	require.NoError(t, r.Vars.Delete(key))
	require.NoError(t, r.Vars.Write(key, efivar.Variable{Attributes: 6, Data: []byte{0xff, 0xff, 0x7f, 0, 0, 0, 0,
		0x80}}))
	require.Contains(t, strings.Join(state(t, r).Warnings, " "), "bits [22 63]")
	require.NoError(t, state(t, r).Blocked)
}

// odd is a store with one variable that is not as it should be.
type odd struct {
	efivar.Store
	name    efivar.Name
	v       efivar.Variable
	err     error
	deleted bool
}

func (o *odd) Read(name efivar.Name) (efivar.Variable, error) {
	if name == o.name && !o.deleted {
		return o.v, o.err
	}
	return o.Store.Read(name)
}

func (o *odd) Delete(name efivar.Name) error {
	o.deleted = o.deleted || name == o.name
	return o.Store.Delete(name)
}

func (o *odd) Write(name efivar.Name, v efivar.Variable) error {
	if name == o.name && !o.deleted {
		if o.err != nil {
			return o.err // as efivarfs, which reads first
		}
		if len(o.v.Data) > 0 && o.v.Attributes != v.Attributes {
			return fmt.Errorf("write variable %s: its attributes are others", name.Name)
		}
		o.deleted = true
	}
	return o.Store.Write(name, v)
}

func (o *odd) List() ([]efivar.Name, error) {
	names, err := o.Store.List()
	return append(names, o.name), err
}

// oddities are the ways in which a variable can be other than it should be.
func oddities() map[string]odd {
	data := func(b []byte) odd { return odd{v: efivar.Variable{Attributes: efivar.Kept, Data: b}} }
	return map[string]odd{
		"cannot be read":                   {err: errors.New("input/output error")},
		"has no attributes":                {err: fmt.Errorf("2 bytes: %w", efivar.ErrFormat)},
		"is empty":                         data(nil),
		"has one byte":                     data([]byte{1}),
		"has three bytes":                  data([]byte{1, 0, 2}),
		"has no NUL":                       data([]byte("x\x00y\x00")),
		"is a NUL":                         data([]byte{0, 0}),
		"is huge":                          data(bytes.Repeat([]byte("ab\x00\x01"), 1<<14)),
		"is no UTF-16":                     data([]byte{0x00, 0xd8, 'x', 0, 0x00, 0xdc, 0, 0}),
		"has escape sequence":              data(efivar.EncodeString("\x1b[2J")),
		"has attributes of a volatile one": {v: efivar.Variable{Attributes: 6, Data: efivar.EncodeString("gone.conf")}},
	}
}

// read by this package and those below it. What is needed to know which slot runs is true.
var readVariables = map[efivar.Name]bool{
	efivar.Loader("LoaderEntryOneShot"): false, efivar.Loader("LoaderEntryPreferred"): false,
	efivar.Loader("LoaderEntryDefault"): false,
	efivar.Loader("LoaderEntrySysFail"): false, efivar.Loader("LoaderConfigTimeout"): false,
	efivar.Loader("LoaderConfigTimeoutOneShot"): false,
	efivar.Loader("LoaderEntrySelected"):        true, efivar.Loader("LoaderDevicePartUUID"): true,
	efivar.Loader("LoaderImageIdentifier"): false,
	efivar.Loader("LoaderInfo"):            false, efivar.Loader("LoaderFeatures"): false,
	efivar.Global("BootOrder"): false, efivar.Global("BootNext"): false, efivar.Global("BootCurrent"): false,
	efivar.Boot(0): false, efivar.Boot(1): false, efivar.Boot(2): false, efivar.Boot(3): false,
	efivar.Boot(0x50): false, efivar.Boot(0x99): false,
}

// One variable that cannot be read, or is not as it should be, costs no good trial its confirmation and no default its
// upgrade, but where it is needed; then it is named.
func TestOneOddVariable(t *testing.T) {
	running, standing := trial(t), installed(t)
	held := fill(t, standing)
	for name, needed := range readVariables {
		for how, o := range oddities() {
			t.Run(name.Name+" "+how, func(t *testing.T) {
				open := func(r *loadertest.Rig) (*loadertest.Machine, *sdboot.Loader) {
					m := r.Machine.Clone()
					f, err := m.FS()
					require.NoError(t, err)
					o := o
					o.Store, o.name = m.Vars, name
					if o.err != nil {
						o.err = fmt.Errorf("read variable %s: %w", name.Name, o.err)
					}
					l, err := sdboot.New(sdboot.Config{FS: f, Vars: &o, Partition: m.Partition, Cmdline: m.Cmdline})
					require.NoError(t, err)
					return m, l
				}
				m, l := open(running)
				st, err := l.State()
				require.NoError(t, err)
				for _, text := range append(st.Warnings, st.Loader) {
					require.Less(t, len(text), 1000)
					require.NotContains(t, text, "\x1b")
				}
				switch {
				case needed:
					require.Equal(t, bootloader.None, st.Active)
				default:
					require.Equal(t, bootloader.B, st.Active)
					require.True(t, st.Trial())
				}
				require.NoError(t, l.Confirm(bootloader.B))
				out, err := m.Boot()
				require.NoError(t, err)
				require.Equal(t, bootloader.B, out.Slot)

				// An upgrade is refused by that name, or it ends right.
				m, l = open(standing)
				st, err = l.State()
				require.NoError(t, err)
				require.Equal(t, needed, st.Active == bootloader.None)
				if err = l.Withdraw(bootloader.B); err == nil {
					err = l.Prepare(bootloader.B, held, 1)
				}
				if err == nil {
					err = l.Arm(bootloader.B, 1)
				}
				if err != nil {
					if len(o.v.Data) != 8 && len(o.v.Data) != 2 { // else it is a value: features, a number
						require.ErrorContains(t, err, name.Name)
					}
					return
				}
				require.NoError(t, st.Blocked)
				out, err = m.Boot()
				require.NoError(t, err)
				require.Equal(t, bootloader.B, out.Slot)
				require.True(t, out.Trial)
			})
		}
	}
}

// Attributes do not change while a variable exists, so what arms is written anew.
func TestAOneShotWithOtherAttributes(t *testing.T) {
	r := installed(t)
	require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
	volatile(t, r, "LoaderEntryOneShot", "pawl-b.conf")
	require.NoError(t, r.Arm(bootloader.B, 1))
	boot(t, boot(t, r, bootloader.B), bootloader.A)
}

// What armed a trial of several tries cannot be read any more: it goes with the confirm, since firmware may still
// follow it.
func TestAOneShotThatCannotBeReadGoesWithTheConfirm(t *testing.T) {
	r := trial(t)
	require.NoError(t, r.Arm(bootloader.B, 1))
	m := r.Machine.Clone()
	m.Vars.Unreadable = map[efivar.Name]error{efivar.Loader("LoaderEntryOneShot"): errors.New("input/output error")}
	f, err := m.FS()
	require.NoError(t, err)
	l, err := sdboot.New(sdboot.Config{FS: f, Vars: m.Vars, Partition: m.Partition, Cmdline: m.Cmdline})
	require.NoError(t, err)
	require.NoError(t, l.Confirm(bootloader.B))
	_, err = m.Vars.Read(efivar.Loader("LoaderEntryOneShot"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Firmware that takes what arms and cannot say what it has: that is refused, and does not stay armed.
func TestWhatArmsAndCannotBeReadBackIsDeleted(t *testing.T) {
	for _, way := range []loadertest.Subject{backend, direct} {
		r, err := way.Installed()
		require.NoError(t, err)
		require.NoError(t, r.Prepare(bootloader.B, fill(t, r), 1))
		vars := r.Vars
		vars.BeforeWrite = func(name efivar.Name, value []byte) error {
			if value != nil {
				vars.Unreadable = map[efivar.Name]error{name: errors.New("input/output error")}
			}
			return nil
		}
		require.ErrorIs(t, r.Arm(bootloader.B, 1), bootloader.ErrNoVariables)
		require.Empty(t, vars.Unreadable, "it is deleted")
		vars.BeforeWrite = nil
		boot(t, r, bootloader.A)
	}
}

// liar is firmware that says it has changed a variable, and keeps it.
type liar struct {
	*efivar.Memory
	name efivar.Name
}

func (l liar) Write(name efivar.Name, v efivar.Variable) error {
	if name == l.name {
		return nil
	}
	return l.Memory.Write(name, v)
}

func (l liar) Delete(name efivar.Name) error {
	if name == l.name {
		return nil
	}
	return l.Memory.Delete(name)
}

// A trial needs another start of the loader, and BootOrder stays as it is: prepare says so, and arm is not come to.
func TestABootOrderThatDoesNotChange(t *testing.T) {
	r := installed(t)
	m := fill(t, r)
	l, err := sdboot.New(sdboot.Config{FS: r.FS, Partition: r.Partition,
		Vars: liar{r.Vars, efivar.Global("BootOrder")}})
	require.NoError(t, err)
	err = l.Prepare(bootloader.B, m, 7)
	require.ErrorIs(t, err, bootloader.ErrNoVariables)
	require.ErrorContains(t, err, "read back BootOrder")
	boot(t, r, bootloader.A)
}

// What arms a trial stays, whatever is done: it is made to start nothing, and the slot is not made bootable under it.
func TestWhatArmsAndCannotBeDeletedStartsNothing(t *testing.T) {
	for name, way := range map[efivar.Name]loadertest.Subject{
		efivar.Loader("LoaderEntryOneShot"): backend, efivar.Global("BootNext"): direct,
	} {
		r, err := way.Installed()
		require.NoError(t, err)
		m := fill(t, r)
		require.NoError(t, r.Prepare(bootloader.B, m, 1))
		require.NoError(t, r.Arm(bootloader.B, 1))
		stays := liar{r.Vars, name}
		l, err := sdboot.New(sdboot.Config{FS: r.FS, Vars: stays, Partition: r.Partition, Cmdline: r.Cmdline})
		require.NoError(t, err)
		require.NoError(t, l.Disarm(), name)
		_, err = stays.Read(name)
		require.NoError(t, err)
		require.Equal(t, bootloader.None, state(t, l).Armed)
		require.ErrorIs(t, l.Prepare(bootloader.B, m, 1), bootloader.ErrNoVariables)
		require.ErrorIs(t, l.Withdraw(bootloader.B), bootloader.ErrNoVariables, "nor is the slot cleared")
		boot(t, r, bootloader.A)
	}
}
