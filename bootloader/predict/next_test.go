package predict_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/partition/device"
)

// sealed is a disk that can only be read: what would write to it fails the test.
type sealed struct {
	device.Reader
	t *testing.T
}

func (s sealed) WriteAt([]byte, int64) (int, error) {
	s.t.Error("the disk was written to")
	return 0, errors.New("read-only")
}

// next predicts the boots of a machine, none of whose bytes and variables may change.
func next(t *testing.T, m *loadertest.Machine, n int) []predict.Outcome {
	t.Helper()
	before, names := m.Vars.Values(), m.Vars.Clone()
	m.Vars.BeforeWrite = func(name efivar.Name, _ []byte) error {
		t.Errorf("variable %s was written", name.Name)
		return errors.New("read-only")
	}
	boots, err := predict.Next(sealed{m.Disk, t}, m.Vars, n, m.Options)
	require.NoError(t, err)
	require.Len(t, boots, n)
	require.True(t, maps.EqualFunc(before, m.Vars.Values(), func(a, b []byte) bool { return string(a) == string(b) }))
	m.Vars = names
	return boots
}

// told joins boots into lines: "A: reason reason", "B trial: ...", "stuck (why): ...".
func told(boots []predict.Outcome) string {
	var lines []string
	for _, o := range boots {
		line := string(o.Slot)
		switch {
		case o.Stuck != "":
			line = "stuck (" + o.Stuck + ")"
		case o.Trial:
			line += " trial"
		case o.Slot == bootloader.None:
			line = o.Path
		}
		lines = append(lines, line+": "+strings.Join(o.Why, " "))
	}
	return strings.Join(lines, "\n")
}

// option adds a boot option; file is where on the machine's own partition, "" is a device without a disk.
func option(t *testing.T, m *loadertest.Machine, n uint16, name, file string) {
	t.Helper()
	path := []efivar.Node{m.Partition.Node(), efivar.FilePath(file), efivar.End()}
	if file == "" {
		path = []efivar.Node{{Type: 3, Subtype: 11, Data: make([]byte, 33)}, efivar.End()} // a network card
	}
	data, err := efivar.LoadOption{Attributes: efivar.Active, Description: name, Path: path}.Encode()
	require.NoError(t, err)
	require.NoError(t, m.Vars.Write(efivar.Boot(n), efivar.Variable{Attributes: efivar.Kept, Data: data}))
}

func numbers(t *testing.T, m *loadertest.Machine, name string, n ...uint16) {
	t.Helper()
	require.NoError(t, m.Vars.Write(efivar.Global(name), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeNumbers(n...)}))
}

func variable(t *testing.T, m *loadertest.Machine, name, value string) {
	t.Helper()
	require.NoError(t, m.Vars.Write(efivar.Loader(name), efivar.Variable{Attributes: efivar.Kept,
		Data: efivar.EncodeString(value)}))
}

const loaderFile = `\EFI\BOOT\BOOTX64.EFI`

// Each reason that firmware and systemd-boot can give, with the boots that follow.
func TestWhyUnderSystemdBoot(t *testing.T) {
	uki := string(loadertest.Kernel("amd64", []byte("two")))
	twice := func(t *testing.T, m *loadertest.Machine) {
		option(t, m, 1, "Pawl", loaderFile)
		option(t, m, 2, "Pawl (start 2)", loaderFile)
		numbers(t, m, "BootOrder", 1, 2)
	}
	for _, c := range []struct {
		name   string
		change map[string]string
		set    func(*testing.T, *loadertest.Machine)
		want   []string
	}{
		{name: "a plain default", want: []string{"A: loader.conf names slot A."}},
		{name: "one-shot", set: func(t *testing.T, m *loadertest.Machine) {
			variable(t, m, "LoaderEntryOneShot",
				"pawl-b.conf")
		},
			want: []string{"B trial: LoaderEntryOneShot names slot B; used up by this boot.",
				"A: loader.conf names slot A."}},
		{name: "one-shot of nothing", set: func(t *testing.T, m *loadertest.Machine) {
			variable(t, m,
				"LoaderEntryOneShot", "gone.conf")
		},
			want: []string{`A: LoaderEntryOneShot is "gone.conf", which is no entry that can be started; used up by this boot. loader.conf names slot A.`, "A: loader.conf names slot A."}},
		{name: "the firmware's setup, once", set: func(t *testing.T, m *loadertest.Machine) {
			variable(t, m, "LoaderEntryOneShot", "AUTO-reboot-*")
		}, want: []string{"stuck (systemd-boot restarts the machine into the firmware's setup): " +
			"LoaderEntryOneShot names entry auto-reboot-to-firmware-setup; used up by this boot.",
			"A: loader.conf names slot A."}},
		{name: "the firmware's setup, hidden", change: map[string]string{
			"loader/loader.conf": "auto-firmware off\ndefault auto-*\n"},
			want: []string{`A: loader.conf names "auto-*", which is no entry that can be started: the first entry in order boots, slot A.`}},
		{name: "firmware without a setup", change: map[string]string{"loader/loader.conf": "default auto-*\n"},
			set: func(t *testing.T, m *loadertest.Machine) {
				require.NoError(t, m.Vars.Write(efivar.Global("OsIndicationsSupported"), efivar.Variable{
					Attributes: 6, Data: make([]byte, 8)}))
			},
			want: []string{`A: loader.conf names "auto-*", which is no entry that can be started: the first entry in order boots, slot A.`}},
		{name: "to be switched off", change: map[string]string{
			"loader/loader.conf": "auto-poweroff yes\ndefault auto-p*\n"},
			want: []string{"stuck (systemd-boot switches the machine off): loader.conf names entry auto-poweroff."}},
		{name: "what the loader finds", change: map[string]string{"shellx64.efi": uki,
			"loader/loader.conf": "default auto-[a-f]*\n"},
			want: []string{"shellx64.efi: loader.conf names entry auto-efi-shell."}},
		{name: "what the loader would find", change: map[string]string{"shellx64.efi": uki,
			"loader/loader.conf": "auto-entries n\ndefault auto-efi-shell\n"},
			want: []string{`A: loader.conf names "auto-efi-shell", which is no entry that can be started: the first entry in order boots, slot A.`}},
		{name: "an entry for another machine", change: map[string]string{nameA: "efi /EFI/pawl/A/os.efi\narchitecture aa64\n"},
			want: []string{`B: loader.conf names "pawl-a.conf", which is no entry that can be started: the first entry in order boots, slot B.`}},
		{name: "an entry for this machine", change: map[string]string{nameA: "efi /EFI/pawl/A/os.efi\narchitecture X64\n"},
			want: []string{"A: loader.conf names slot A."}},
		{name: "a variable without a NUL", set: func(t *testing.T, m *loadertest.Machine) {
			value := efivar.EncodeString("pawl-b.conf\n")
			require.NoError(t, m.Vars.Write(efivar.Loader("LoaderEntryDefault"), efivar.Variable{
				Attributes: efivar.Kept, Data: value[:len(value)-2]}))
		}, want: []string{"B: LoaderEntryDefault names slot B and outranks loader.conf."}},
		{name: "a default by variable", set: func(t *testing.T, m *loadertest.Machine) {
			variable(t, m,
				"LoaderEntryDefault", "pawl-b.conf")
		},
			want: []string{"B: LoaderEntryDefault names slot B and outranks loader.conf."}},
		{name: "a default by variable of nothing", set: func(t *testing.T, m *loadertest.Machine) {
			variable(t, m,
				"LoaderEntryDefault", "gone*")
		},
			want: []string{`A: LoaderEntryDefault is "gone*", which is no entry that can be started. loader.conf names slot A.`}},
		{name: "loader.conf destroyed", change: map[string]string{"loader/loader.conf": "\x93\x00\x81default"},
			want: []string{"A: loader.conf is damaged: the first entry in order boots, slot A."}},
		{name: "loader.conf of zeros", change: map[string]string{"loader/loader.conf": string(make([]byte, 512))},
			want: []string{"A: loader.conf is damaged: the first entry in order boots, slot A."}},
		{name: "loader.conf without a default", change: map[string]string{"loader/loader.conf": "timeout 0\n"},
			want: []string{"A: loader.conf names no default: the first entry in order boots, slot A."}},
		{name: "loader.conf names what is gone", change: map[string]string{nameA: "\n"},
			want: []string{`B: loader.conf names "pawl-a.conf", which is no entry that can be started: the first entry in order boots, slot B.`}},
		{name: "loader.conf is gone", change: map[string]string{"loader/loader.conf": "-"},
			want: []string{"A: loader.conf cannot be read (loader/loader.conf: file does not exist): the first entry " +
				"in order boots, slot A."}},
		{name: "an entry that is not ours", change: map[string]string{"loader/loader.conf": "default other.conf\n",
			"loader/entries/other.conf": "linux /vmlinuz\n", "vmlinuz": uki},
			want: []string{"vmlinuz: loader.conf names entry other.conf."}},
		{name: "a trial that does not load, one start",
			change: map[string]string{"EFI/pawl/B/os.efi": uki[:len(uki)-513]},
			set:    func(t *testing.T, m *loadertest.Machine) { variable(t, m, "LoaderEntryOneShot", "pawl-b.conf") },
			want: []string{`stuck (the firmware ends in its shell): LoaderEntryOneShot names slot B; used up by this boot. The loader goes back to the firmware ` +
				`(error loading /EFI/pawl/B/os.efi: not an image that this firmware loads), which takes the next in BootOrder after Boot0001 "UEFI Misc Device".`, "A: loader.conf names slot A."}},
		{name: "a trial that does not load, two starts",
			change: map[string]string{"EFI/pawl/B/os.efi": uki[:len(uki)-513]},
			set: func(t *testing.T, m *loadertest.Machine) {
				twice(t, m)
				variable(t, m, "LoaderEntryOneShot", "pawl-b.conf")
			},
			want: []string{`A: LoaderEntryOneShot names slot B; used up by this boot. The loader goes back to the firmware ` +
				`(error loading /EFI/pawl/B/os.efi: not an image that this firmware loads), which takes the next in BootOrder after Boot0001 "Pawl". loader.conf names slot A.`, "A: loader.conf names slot A."}},
		{name: "a default that does not load", change: map[string]string{"EFI/pawl/A/os.efi": "junk"}, set: twice,
			want: []string{`stuck (the firmware ends in its shell): loader.conf names slot A. The loader goes back to the firmware (error loading /EFI/pawl/A/os.efi: not an image that this firmware loads), ` +
				`which takes the next in BootOrder after Boot0001 "Pawl". loader.conf names slot A. The loader goes back to the firmware (error loading /EFI/pawl/A/os.efi: not an image that this firmware loads), ` +
				`which takes the next in BootOrder after Boot0002 "Pawl (start 2)". loader.conf names slot A. The loader goes back to the firmware (error loading /EFI/pawl/A/os.efi: not an image that this firmware loads), ` +
				`which takes the next in BootOrder after Boot0003 "UEFI Misc Device".`}},
		{name: "BootNext", set: func(t *testing.T, m *loadertest.Machine) {
			option(t, m, 0x50, "trial", `\EFI\pawl\B\os.efi`)
			numbers(t, m, "BootNext", 0x50)
		}, want: []string{`B trial: BootNext names Boot0050 "trial"; used up by this boot. The firmware starts slot B's os.efi by itself, for Boot0050 "trial".`, "A: loader.conf names slot A."}},
		{name: "BootNext to what does not load", change: map[string]string{"EFI/pawl/B/os.efi": "junk"},
			set: func(t *testing.T, m *loadertest.Machine) {
				option(t, m, 0x50, "trial", `\EFI\pawl\B\os.efi`)
				numbers(t, m, "BootNext", 0x50)
			}, want: []string{`A: BootNext names Boot0050 "trial"; used up by this boot. Boot0050 "trial" starts nothing (not an image that this firmware loads), so the firmware goes on. loader.conf names slot A.`}},
		{name: "BootNext to no option", set: func(t *testing.T, m *loadertest.Machine) {
			numbers(t, m, "BootNext",
				0x50)
		},
			want: []string{"A: BootNext names Boot0050; used up by this boot. It is not there, so the firmware goes " +
				"on with BootOrder. loader.conf names slot A.", "A: loader.conf names slot A."}},
		{name: "something else in front", change: map[string]string{"EFI/other.efi": uki},
			set: func(t *testing.T, m *loadertest.Machine) {
				option(t, m, 3, "Other", `\EFI\other.efi`)
				numbers(t, m, "BootOrder", 3)
			}, want: []string{`EFI/other.efi: The firmware starts EFI/other.efi by itself, for Boot0003 "Other".`}},
		{name: "a network card in front", set: func(t *testing.T, m *loadertest.Machine) {
			option(t, m, 3, "Network", "")
			numbers(t, m, "BootOrder", 3)
		}, want: []string{`A: Boot0003 "Network" starts nothing (it names another device, which is taken to hold nothing that starts), so the firmware goes on. loader.conf names slot A.`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := disk(t, base(c.change))
			if c.set != nil {
				c.set(t, m)
			}
			require.Equal(t, strings.Join(c.want, "\n"), told(next(t, m, len(c.want))))
			for i, o := range next(t, m, 3) {
				played, err := m.Boot()
				require.NoError(t, err)
				o.Why, o.Log, played.Log = nil, nil, nil
				require.Equal(t, played, o, "boot %d, played", i+1)
			}
		})
	}
}

// grubOnBIOS is GRUB on BIOS.
func grubOnBIOS() loadertest.Subject {
	boot, core := loadertest.GRUBCore()
	return loadertest.Subject{
		Backend: grub.Backend{BIOS: true}, Files: map[string][]byte{"grub-boot.img": boot, "grub-core.img": core},
		Options: predict.Options{BIOS: true}, Separate: true,
	}
}

// armed is a machine that runs version 1 from slot A, and whose slot B holds version 2, armed.
func armed(t *testing.T, b loadertest.Subject, tries int) *loadertest.Rig {
	t.Helper()
	r, err := b.Installed()
	require.NoError(t, err)
	held, err := r.Fill(r.FS, bootloader.B, "2")
	require.NoError(t, err)
	require.NoError(t, r.Prepare(bootloader.B, held, tries))
	require.NoError(t, r.Arm(bootloader.B, tries))
	return r
}

// Each reason that GRUB can give.
func TestWhyUnderGRUB(t *testing.T) {
	trialB := "B trial: trial.env has slot B on trial, tries left: 1; after this boot: 0."
	a := "A: GRUB's default is slot A."
	over := "A: The tries of slot B are used up. GRUB's default is slot A."
	kernel := bootloader.B.File(bootloader.KernelFile)
	for _, c := range []struct {
		name   string
		tries  int
		change func(*testing.T, *loadertest.Rig)
		want   []string
	}{
		{"a trial", 1, nil, []string{trialB, over, over}},
		{"three tries", 3, nil, []string{"B trial: trial.env has slot B on trial, tries left: 3; after this boot: 2.",
			"B trial: trial.env has slot B on trial, tries left: 2; after this boot: 1.", trialB, over}},
		{"disarmed", 1, func(t *testing.T, r *loadertest.Rig) { require.NoError(t, r.Disarm()) }, []string{a, a}},
		{"a trial without its kernel", 1, func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t,
				r.FS.Remove(kernel))
		},
			[]string{"A: GRUB does not find all files of slot B, or it is not to be booted. GRUB's default is slot A.",
				over}},
		{"a kernel that is cut short", 1, func(t *testing.T, r *loadertest.Rig) {
			data, err := r.FS.ReadFile(kernel)
			require.NoError(t, err)
			require.NoError(t, r.FS.WriteFile(kernel, data[:len(data)-100]))
		}, []string{"A: GRUB starts slot B's vmlinuz, which is cut short (1724 bytes of 1824). The machine restarts. " +
			"The tries of slot B are used up. GRUB's default is slot A.", over}},
		{"an initramfs of junk", 1, func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t, r.FS.WriteFile(bootloader.B.File(bootloader.InitrdFile), []byte("junk")))
		}, []string{"A: GRUB starts slot B's vmlinuz, which panics: its initramfs is no archive. The machine " +
			"restarts. The tries of slot B are used up. GRUB's default is slot A.", over}},
		{"trial.env destroyed", 1, func(t *testing.T, r *loadertest.Rig) { junk(t, r, "grub/trial.env") },
			[]string{a, a}},
		{"one copy of the default destroyed", 1, func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t, r.Disarm())
			junk(t, r, "grub/default.0.env")
		}, []string{"A: One copy of GRUB's default names slot A; the other is damaged."}},
		{"both copies destroyed", 1, func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t, r.Disarm())
			junk(t, r, "grub/default.0.env")
			junk(t, r, "grub/default.1.env")
		}, []string{"A: Both copies of GRUB's default are damaged: slot A boots, because it was not on trial last."}},
		{"the default without its kernel", 1, func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t, r.Disarm())
			require.NoError(t, r.FS.Remove(bootloader.A.File(bootloader.KernelFile)))
		}, []string{"B: GRUB does not find all files of slot A, or it is not to be booted. Slot B boots in its " +
			"place."}},
		{"another grub.cfg", 1, func(t *testing.T, r *loadertest.Rig) {
			require.NoError(t, r.FS.WriteFile("vmlinuz", loadertest.LinuxImage(nil)))
			require.NoError(t, r.FS.WriteFile("initrd", []byte("070701")))
			require.NoError(t, r.FS.WriteFile("grub/grub.cfg", []byte("linux /vmlinuz\ninitrd /initrd\nboot\n")))
		}, []string{"vmlinuz: grub.cfg starts vmlinuz, which is no slot."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := armed(t, grubOnBIOS(), c.tries)
			if c.change != nil {
				c.change(t, r)
			}
			require.Equal(t, strings.Join(c.want, "\n"), told(next(t, r.Machine, len(c.want))))
			for i, o := range next(t, r.Machine, 3) {
				played, err := r.Boot()
				require.NoError(t, err)
				o.Why = nil
				require.Equal(t, played, o, "boot %d, played", i+1)
			}
		})
	}
}

func junk(t *testing.T, r *loadertest.Rig, path string) {
	t.Helper()
	require.NoError(t, r.FS.Overwrite(path, []byte(strings.Repeat("junk", 128))))
}

// A device that cannot be written is predicted all the same: what GRUB writes stays in memory.
func TestOverlay(t *testing.T) {
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	over := predict.NewOverlay(sealed{m.Disk, t})
	_, err = over.WriteAt([]byte(strings.Repeat("new.", 256)), 4096)
	require.NoError(t, err)
	got := make([]byte, 2048)
	_, err = over.ReadAt(got, 3800)
	require.NoError(t, err)
	want := make([]byte, 2048)
	_, err = m.Disk.ReadAt(want, 3800)
	require.NoError(t, err)
	copy(want[296:], strings.Repeat("new.", 256))
	require.Equal(t, want, got)
	_, err = over.WriteAt([]byte("part"), 4096)
	require.Error(t, err, "whole sectors only")
	_, err = over.WriteAt(make([]byte, 512), over.Size())
	require.Error(t, err)
	require.NoError(t, over.Sync())

	m.Disk.Spoil(8192, 512)
	_, err = over.ReadAt(got[:512], 8192)
	require.Error(t, err)
	_, err = over.WriteAt(make([]byte, 512), 8192)
	require.NoError(t, err)
	_, err = over.ReadAt(got[:512], 8192)
	require.NoError(t, err, "what was written is read, though the disk cannot")
}

func TestOrderAndStarts(t *testing.T) {
	m := disk(t, base(map[string]string{"EFI/other.efi": string(loadertest.Kernel("amd64", []byte("x"))),
		"EFI/second.efi": string(loadertest.Loader("amd64"))}))
	option(t, m, 1, "Network", "")
	option(t, m, 2, "Pawl", loaderFile)
	option(t, m, 3, "Gone", `\EFI\gone.efi`)
	option(t, m, 4, "Second copy", `\EFI\second.efi`)
	option(t, m, 5, "Other", `\EFI\other.efi`)
	option(t, m, 6, "Pawl again", loaderFile)
	numbers(t, m, "BootOrder", 1, 2, 3, 9, 4, 5, 6)
	order, err := predict.Order(sealed{m.Disk, t}, m.Vars, predict.Options{})
	require.NoError(t, err)
	require.Equal(t, []predict.Option{
		{Number: 1, Name: `Boot0001 "Network"`,
			Reason: "it names another device, which is taken to hold nothing that starts"},
		{Number: 2, Name: `Boot0002 "Pawl"`, Path: "EFI/BOOT/BOOTX64.EFI", Loader: true},
		{Number: 3, Name: `Boot0003 "Gone"`, Reason: `\EFI\gone.efi: file does not exist`},
		{Number: 4, Name: `Boot0004 "Second copy"`, Path: "EFI/second.efi", Loader: true},
		{Number: 5, Name: `Boot0005 "Other"`, Path: "EFI/other.efi"},
		{Number: 6, Name: `Boot0006 "Pawl again"`, Path: "EFI/BOOT/BOOTX64.EFI", Loader: true},
	}, order)
	require.Equal(t, 2, predict.Starts(order), "the third stands behind something else")

	_, err = m.Boot()
	require.NoError(t, err)
	numbers(t, m, "BootOrder", 1, 2)
	order, err = predict.Order(m.Disk, m.Vars, predict.Options{BIOS: true})
	require.NoError(t, err)
	require.Empty(t, order)
}

func TestMade(t *testing.T) {
	require.Equal(t, predict.Options{Arch: "amd64"}, predict.Made(disk(t, base(nil)).Disk))
	r, err := grubOnBIOS().Installed()
	require.NoError(t, err)
	require.Equal(t, predict.Options{BIOS: true}, predict.Made(r.Disk))
	m, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	require.Equal(t, predict.Options{}, predict.Made(m.Disk), "nothing on it yet")
	arm, err := loadertest.NewMachine(512)
	require.NoError(t, err)
	f, err := arm.FS()
	require.NoError(t, err)
	require.NoError(t, f.Mkdir("EFI/BOOT"))
	require.NoError(t, sdboot.Install(f, loadertest.Loader("arm64")))
	require.Equal(t, predict.Options{Arch: "arm64"}, predict.Made(arm.Disk))
}

// What the model does not know is an error and no prediction.
func TestNextSaysWhatItDoesNotKnow(t *testing.T) {
	m := disk(t, crowded())
	_, err := predict.Next(m.Disk, m.Vars, 3, predict.Options{})
	require.ErrorIs(t, err, predict.ErrNotModelled)
	require.ErrorContains(t, err, "predict boot 1")
}
