package upgrade_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// bringing is an image with that very loader.
func (r *rig) bringing(version string, own []byte) *image.Image {
	r.t.Helper()
	img, err := r.images.Image(version, virtual.Spec{Size: 10_000, Own: own, GRUB: r.Loader != "" &&
		r.Loader != loaders.SystemdBoot})
	require.NoError(r.t, err)
	return img
}

// secure is what firmware says of Secure Boot.
func (r *rig) secure(data ...byte) {
	r.t.Helper()
	name := efivar.Global("SecureBoot")
	require.NoError(r.t, r.Vars.Delete(name))
	require.NoError(r.t, r.Vars.Write(name, efivar.Variable{Attributes: efivar.BootService | efivar.Runtime,
		Data: data}))
}

func (r *rig) put(path string, content []byte) {
	r.t.Helper()
	layout, err := partition.Read(r.Disk)
	require.NoError(r.t, err)
	p, err := layout.Find("EFI")
	require.NoError(r.t, err)
	f, err := bootfs.Open(partition.Section(r.Disk, p), bootfs.Options{Zones: bootloader.Zones(), Now: virtual.Now})
	require.NoError(r.t, err)
	if err := f.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		require.NoError(r.t, err)
	}
	require.NoError(r.t, f.WriteFile(path, content))
}

func foreign(loader string, arch string) []byte {
	if loader == loaders.GRUBUEFI {
		return loadertest.GRUBEFIFor(arch, "other")
	}
	return loadertest.LoaderOf(arch, "300")
}

// An image whose loader is for another architecture is refused before anything is armed, also when it is forced; and
// where such a file came into the slot all the same, it is never installed.
func TestLoaderForAnotherArchitectureIsRefused(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			before := r.installed()
			for _, force := range []bool{false, true} {
				_, err := r.Upgrade(t.Context(), r.bringing("2.0.0", foreign(loader, "arm64")),
					upgrade.Options{Force: force})
				require.ErrorIs(t, err, bootloader.ErrMachine)
				require.ErrorIs(t, err, upgrade.ErrUnfit)
				require.ErrorContains(t, err, "it is for arm64, and amd64 is wanted")
				require.Equal(t, bootloader.None, r.status().Loader.Armed)
			}
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1")) // of which all but the loader is there already
			r.put("EFI/pawl/B/loader.efi", foreign(loader, "arm64"))
			require.ErrorIs(t, r.status().Own.Left, bootloader.ErrMachine)
			for _, force := range []bool{false, true} {
				_, err := r.replace(upgrade.LoaderOptions{Force: force})
				require.ErrorIs(t, err, bootloader.ErrMachine)
			}
			require.Equal(t, before, r.installed())
			d, err := doctor.DiagnoseDevice(t.Context(), r.Disk, upgrade.OpenOptions{Loaders: loaders.All(),
				Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "2.0.0"})
			require.NoError(t, err)
			for _, f := range d.Findings {
				require.NotContains(t, []doctor.Remedy{doctor.ReplaceLoader, doctor.ForceLoader}, f.Remedy)
			}
			r.boots(bootloader.B, "2.0.0")
		})
	}
}

// A new disk is not made with such a loader either.
func TestInstallRefusesALoaderForAnotherArchitecture(t *testing.T) {
	for _, loader := range onUEFI {
		images, err := virtual.NewImages(t.Context(), t.TempDir())
		require.NoError(t, err)
		img, err := images.Image("1.0.0", virtual.Spec{Own: foreign(loader, "arm64"), GRUB: loader == loaders.GRUBUEFI})
		require.NoError(t, err)
		_, err = virtual.InstallOn(t.Context(), img, loader)
		require.ErrorIs(t, err, bootloader.ErrMachine, loader)
	}
}

func TestImageForAnotherArchitectureIsRefusedByPlan(t *testing.T) {
	r := start(t)
	ref, err := r.images.Reference("2.0.0", virtual.Spec{Arch: "arm64", Own: loadertest.Loader("arm64")})
	require.NoError(t, err)
	img, err := image.Open(t.Context(), ref, image.Options{Arch: "arm64"})
	require.NoError(t, err)
	m, err := r.Open()
	require.NoError(t, err)
	for _, force := range []bool{false, true} {
		_, err = m.Plan(t.Context(), img, upgrade.Options{Force: force})
		require.ErrorIs(t, err, image.ErrPlatform)
		require.ErrorContains(t, err, "it is for arm64, and this machine runs amd64")
	}
}

// With Secure Boot on, or where that is not known, a loader is installed only by who signed the one that starts today.
func TestLoaderUnderSecureBoot(t *testing.T) {
	key, err := loadertest.NewKey("vendor")
	require.NoError(t, err)
	other, err := loadertest.NewKey("somebody else")
	require.NoError(t, err)
	for _, loader := range onUEFI {
		make := func(version string) []byte {
			if loader == loaders.GRUBUEFI {
				return loadertest.GRUBEFIOf(version)
			}
			return loadertest.LoaderOf("amd64", version)
		}
		sign := func(k loadertest.Key, image []byte) []byte {
			signed, err := k.Sign(image)
			require.NoError(t, err)
			return signed
		}
		moved := bytes.ReplaceAll(sign(key, make("251")), []byte("251"),
			[]byte("253")) // this program, with the signature of another one
		for name, c := range map[string]struct {
			old, new []byte
			secure   []byte
			want     string // "": it is replaced
		}{
			"signed by the same": {sign(key, make("252")), sign(key, make("253")), []byte{1}, ""},
			"signed by somebody else": {sign(key, make("252")), sign(other, make("253")), []byte{1},
				`signed by "somebody else"`},
			"not signed": {sign(key, make("252")), make("253"), []byte{1}, "it is not signed"},
			"with another program's signature": {sign(key, make("252")), moved, []byte{1},
				"changed after it was signed"},
			"nothing is signed":                   {make("252"), make("253"), []byte{1}, "it is not signed"},
			"only the new one is signed":          {make("252"), sign(key, make("253")), []byte{1}, "signed by nobody"},
			"a variable that says something else": {sign(key, make("252")), make("253"), []byte{2}, "is not known"},
			"a variable of two bytes":             {sign(key, make("252")), make("253"), []byte{0, 0}, "is not known"},
			"off":                                 {sign(key, make("252")), make("253"), []byte{0}, ""},
			"no such variable":                    {sign(key, make("252")), make("253"), nil, ""},
		} {
			t.Run(fmt.Sprintf("%s, %s", loader, name), func(t *testing.T) {
				r := onLoader(t, loader)
				r.movedTo(bootloader.B, r.bringing("2.0.0", c.old))
				_, err := r.replace(upgrade.LoaderOptions{Force: true})
				require.NoError(t, err)
				r.boots(bootloader.B, "2.0.0")
				r.movedTo(bootloader.A, r.bringing("3.0.0", c.new))
				if c.secure != nil {
					r.secure(c.secure...)
				}
				left := r.status().Own.Left
				if c.want == "" {
					require.NoError(t, left)
					return
				}
				require.ErrorIs(t, left, bootloader.ErrRefused)
				require.ErrorContains(t, left, c.want)
				require.Contains(t, r.status().Warnings, r.status().Own.String())
				before := r.installed()
				_, err = r.replace(upgrade.LoaderOptions{})
				require.ErrorIs(t, err, bootloader.ErrRefused)
				require.Equal(t, before, r.installed())
			})
		}
	}
}

// What others put where firmware looks is never replaced but by a person.
func TestLoaderOfOthersIsLeft(t *testing.T) {
	for _, loader := range onUEFI {
		for name, theirs := range map[string][]byte{
			"a shim":              loadertest.Shim("amd64"),
			"another loader":      loadertest.Kernel("amd64", []byte("rEFInd")),
			"another one like it": foreign(loader, "amd64"),
		} {
			t.Run(fmt.Sprintf("%s, %s", loader, name), func(t *testing.T) {
				r := onLoader(t, loader)
				r.movedTo(bootloader.B, r.with("2.0.0", "301"))
				r.put("EFI/BOOT/BOOTX64.EFI", theirs)
				_, err := r.replace(upgrade.LoaderOptions{})
				require.ErrorIs(t, err, bootloader.ErrNotOurs)
				require.Equal(t, theirs, r.installed())
				s := r.status()
				require.ErrorIs(t, s.Own.Left, bootloader.ErrNotOurs)
				require.Contains(t, s.Warnings, s.Own.String())
				if name == "a shim" {
					require.Contains(t, s.Own.String(), "a shim")
				}
				d, err := doctor.DiagnoseDevice(t.Context(), r.Disk, upgrade.OpenOptions{Loaders: loaders.All(),
					Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "2.0.0"})
				require.NoError(t, err)
				for _, f := range d.Findings {
					require.NotContains(t, []doctor.Remedy{doctor.ReplaceLoader, doctor.ForceLoader}, f.Remedy)
				}
				_, err = r.replace(upgrade.LoaderOptions{Force: true})
				require.NoError(t, err, "a person may")
				r.boots(bootloader.B, "2.0.0")
			})
		}
	}
}

// What no firmware starts is nobody's loader: the machine came by the spare, and the loader is put back.
func TestLoaderThatIsNoProgramIsPutBack(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.installs(bootloader.B, "2.0.0")
			good := r.installed()
			for _, bad := range [][]byte{[]byte("text"), make([]byte, len(good)),
				bytes.Repeat([]byte{0xa5}, len(good))} {
				r.put("EFI/BOOT/BOOTX64.EFI", bad)
				r.boots(bootloader.B, "2.0.0")
				_, err := r.replace(upgrade.LoaderOptions{})
				require.NoError(t, err)
				require.Equal(t, good, r.installed())
			}
		})
	}
}

// A machine that starts through a shim is as it should be, and stays so.
func TestDoctorLeavesAShimAlone(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			behind := r.installed()
			r.put("EFI/BOOT/BOOTX64.EFI", loadertest.Shim("amd64"))
			r.put("EFI/BOOT/grubx64.efi", behind)
			r.boots(bootloader.A, "1.0.0")
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.boots(bootloader.B, "2.0.0")
			_, err := r.replace(upgrade.LoaderOptions{})
			require.ErrorIs(t, err, bootloader.ErrNotOurs)
			d := r.diagnose()
			require.Equal(t, doctor.Fine, d.Severity(), "%v", d.Findings)
			for _, f := range d.Findings {
				require.NotContains(t, f.Do, "loader")
				require.NotContains(t, f.Do, "take what starts it out of the way")
			}
		})
	}
}

// A loader that was left is ours still when no slot holds it any more.
func TestLoaderThatWasLeftStaysOurs(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			first := r.installed()
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.movedTo(bootloader.A, r.with("3.0.0", "254.1"))
			require.Equal(t, first, r.installed())
			require.NoError(t, r.status().Own.Left)
			m, err := r.Open()
			require.NoError(t, err)
			require.NoError(t, meta.Format(m.Meta))
			require.ErrorIs(t, r.status().Own.Left, bootloader.ErrNotOurs, "but not once META is lost")
		})
	}
}

// tries has the first call tell the firmware to start the new loader once.
func (r *rig) tries() {
	r.t.Helper()
	s, err := r.replace(upgrade.LoaderOptions{})
	require.NoError(r.t, err)
	require.True(r.t, s.Waits)
	require.Contains(r.t, r.status().Warnings, s.String())
	require.NoError(r.t, r.status().Loader.Blocked, "it stands in nobody's way")
	require.Equal(r.t, bootloader.None, r.status().Loader.Armed)
}

func (r *rig) hasNext() bool {
	r.t.Helper()
	_, err := r.Vars.Read(efivar.Global("BootNext"))
	return err == nil
}

// A loader that firmware does not start takes the place of none, is remembered, and the next version's gets its own
// chance.
func TestLoaderThatDoesNotStartIsLeft(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			before := r.installed()
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.tries()
			good, err := r.bootFiles().ReadFile("EFI/pawl/B/loader.efi")
			require.NoError(t, err)
			r.put("EFI/pawl/B/loader.efi", make([]byte, len(good))) // this firmware does not start it
			require.NoError(t, r.Boot())
			require.Equal(t, bootloader.B, r.Last.Slot)
			r.put("EFI/pawl/B/loader.efi", good)
			_, err = r.Started(t.Context())
			require.NoError(t, err)
			require.False(t, r.hasNext())
			for range 2 {
				_, err = r.replace(upgrade.LoaderOptions{})
				require.ErrorIs(t, err, bootloader.ErrRefused)
				require.ErrorContains(t, err, "this boot was started by Boot0001")
				require.False(t, r.hasNext(), "it is not tried again")
				require.Equal(t, before, r.installed())
				require.Contains(t, r.status().Warnings, r.status().Own.String())
				r.boots(bootloader.B, "2.0.0")
			}
			r.movedTo(bootloader.A, r.with("3.0.0", "254.1"))
			r.installs(bootloader.A, "3.0.0")
		})
	}
}

// A start by kexec says nothing of the firmware: BootCurrent is what it was, and BootNext waits.
func TestLoaderWaitsForAStartThroughTheFirmware(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			r := onLoader(t, loader)
			before := r.installed()
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.tries()
			cold := r.Last.Cmdline
			for range 2 {
				r.Boots++ // another kernel, and firmware has not run
				r.Last.Cmdline = strings.TrimSpace(cold + " pawl.slot=B pawl.start=kexec")
				_, err := r.Started(t.Context())
				require.NoError(t, err)
				require.True(t, r.status().Own.Waits)
				_, err = r.replace(upgrade.LoaderOptions{})
				require.NoError(t, err)
				require.True(t, r.hasNext())
				require.Equal(t, before, r.installed())
			}
			r.boots(bootloader.B, "2.0.0")
			s, err := r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			require.True(t, s.Same)
		})
	}
}

// The boot that is to go through the new loader is any boot; the machine is upgraded all the same, and nothing is
// concluded from what the attempt took back.
func TestLoaderThatWaitsGivesWayToAnAttempt(t *testing.T) {
	for _, loader := range onUEFI {
		for _, end := range []string{"confirmed", "fallen back", "another version's loader"} {
			t.Run(fmt.Sprintf("%s, %s", loader, end), func(t *testing.T) {
				r := onLoader(t, loader)
				before := r.installed()
				r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
				r.tries()
				next := "253.1"
				if end == "another version's loader" {
					next = "254.1"
				}
				_, err := r.Upgrade(t.Context(), r.with("3.0.0", next), upgrade.Options{})
				require.NoError(t, err)
				require.False(t, r.hasNext(), "the trial goes through the loader that has proved itself")
				_, err = r.replace(upgrade.LoaderOptions{})
				require.ErrorContains(t, err, "slot A is armed")
				require.True(t, r.boots(bootloader.A, "3.0.0").Trial)
				name, err := bootCurrent(r.Vars)
				require.NoError(t, err)
				require.NotEqual(t, "Pawl (spare loader)", name)
				s := bootloader.A
				version := "3.0.0"
				if end == "fallen back" {
					s, version = bootloader.B, "2.0.0"
					r.boots(s, version)
				} else {
					r.confirm()
				}
				require.Equal(t, before, r.installed())
				require.NoError(t, r.status().Own.Left, "nothing is known of it")
				r.installs(s, version)
			})
		}
	}
}

// A prepared or staged attempt comes first.
func TestLoaderIsNotTriedBesideAnAttempt(t *testing.T) {
	r := start(t)
	r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
	r.stage(r.with("3.0.0", "253.1"), upgrade.Options{})
	_, err := r.replace(upgrade.LoaderOptions{})
	require.ErrorContains(t, err, "upgrade is staged")
	require.False(t, r.hasNext())
}

// Firmware that does not use BootNext up, and one that does not say what started it, prove nothing.
func TestLoaderIsLeftWhereFirmwareProvesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *rig)
		want string
	}{
		"BootNext is still there": {func(r *rig) {
			v, err := r.Vars.Read(efivar.Global("BootCurrent"))
			require.NoError(r.t, err)
			require.NoError(r.t, r.Vars.Write(efivar.Global("BootNext"), efivar.Variable{Attributes: efivar.Kept,
				Data: v.Data}))
		}, "did not use up BootNext"},
		"no BootCurrent": {func(r *rig) { require.NoError(r.t, r.Vars.Delete(efivar.Global("BootCurrent"))) },
			"does not say what started this boot"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			before := r.installed()
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.tries()
			require.NoError(t, r.Boot())
			c.do(r)
			_, err := r.Started(t.Context())
			require.NoError(t, err)
			require.False(t, r.hasNext())
			require.NoError(t, r.Boot())
			_, err = r.Started(t.Context())
			require.NoError(t, err)
			_, err = r.replace(upgrade.LoaderOptions{})
			require.ErrorIs(t, err, bootloader.ErrRefused)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, r.installed())
		})
	}
}

// What another program set is not overwritten.
func TestLoaderIsNotTriedOverAForeignBootNext(t *testing.T) {
	r := start(t)
	r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
	r.numbers("BootNext", 1)
	_, err := r.replace(upgrade.LoaderOptions{})
	require.ErrorIs(t, err, bootloader.ErrForeign)
	v, err := r.Vars.Read(efivar.Global("BootNext"))
	require.NoError(t, err)
	require.Equal(t, efivar.EncodeNumbers(1), v.Data)
}

// Without META nobody could remember that it did not start.
func TestLoaderIsLeftWithoutMeta(t *testing.T) {
	r := start(t)
	r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
	r.zeroMeta()
	_, err := r.replace(upgrade.LoaderOptions{})
	require.ErrorIs(t, err, bootloader.ErrRisk)
	require.False(t, r.hasNext())
}

// Cut at every write of telling the firmware, and of the boot that takes note: the default boots, the old loader is in
// its place, and run to its end the new one is installed, or, where the boot that came through it could not say so,
// left for good.
func TestLoaderTrialCutAnywhere(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(loader, func(t *testing.T) {
			t.Parallel()
			r := onLoader(t, loader)
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			r.record()
			_, err := r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			require.NoError(t, r.cutAnywhere(loader, false))
			r.boots(bootloader.B, "2.0.0")

			r = onLoader(t, loader)
			r.movedTo(bootloader.B, r.with("2.0.0", "253.1"))
			_, err = r.replace(upgrade.LoaderOptions{})
			require.NoError(t, err)
			require.NoError(t, r.Boot())
			r.record()
			_, err = r.Started(t.Context())
			require.NoError(t, err)
			require.NoError(t, r.cutAnywhere(loader, true))
		})
	}
}

func (r *rig) cutAnywhere(loader string, mayBeLeft bool) error {
	old := r.installed()
	done := map[string]int{}
	err := r.Disk.Trace().Crashes(disktest.Options{Seed: 1, Block: 512, Exhaustive: 9, Destroyed: 64, Samples: 16},
		func(c *disktest.Crash) error {
			vars, err := efivar.LoadMemory(c.Atomics())
			if err != nil {
				return err
			}
			m := &virtual.Machine{Disk: c.Device(), Vars: vars, Loader: loader, Boots: r.Boots}
			for range 4 {
				if err := m.Boot(); err != nil {
					return err
				}
				if m.Last.Slot != bootloader.B || m.Last.Trial {
					return fmt.Errorf("%v: %v", c, m.Last)
				}
				if _, err := m.Started(r.t.Context()); err != nil {
					return fmt.Errorf("%v: started: %w", c, err)
				}
				sys, err := m.Open()
				if err != nil {
					return err
				}
				s, err := sys.ReplaceLoader(r.t.Context(), upgrade.LoaderOptions{})
				switch {
				case mayBeLeft && errors.Is(err, bootloader.ErrRefused):
					if now, err := sys.Boot.ReadFile("EFI/BOOT/BOOTX64.EFI"); err != nil || !bytes.Equal(now, old) {
						return fmt.Errorf("%v: it was left, and is another one: %w", c, err)
					}
					done["left"]++
					return nil
				case err != nil:
					return fmt.Errorf("%v: %w", c, err)
				case s.Same:
					done["installed"]++
					return nil
				}
			}
			return fmt.Errorf("%v: it is never installed", c)
		})
	r.t.Log(done)
	if err == nil && done["installed"] == 0 {
		return errors.New("nothing was installed")
	}
	return err
}
