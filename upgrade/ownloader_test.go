package upgrade_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/virtual"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// bringing is an image with that very loader.
func (r *rig) bringing(version string, own []byte) *image.Image {
	r.t.Helper()
	img, err := r.images.Image(version, virtual.Spec{Size: 10_000, Own: own, GRUB: r.Loader != "" && r.Loader != upgrade.SystemdBoot})
	require.NoError(r.t, err)
	return img
}

// secure is what firmware says of Secure Boot.
func (r *rig) secure(data ...byte) {
	r.t.Helper()
	name := efivar.Global("SecureBoot")
	require.NoError(r.t, r.Vars.Delete(name))
	require.NoError(r.t, r.Vars.Write(name, efivar.Variable{Attributes: efivar.BootService | efivar.Runtime, Data: data}))
}

func (r *rig) put(path string, content []byte) {
	r.t.Helper()
	f := r.bootFiles()
	require.NoError(r.t, f.Remove(path))
	require.NoError(r.t, f.WriteFile(path, content))
}

func foreign(loader upgrade.Loader, arch string) []byte {
	if loader == upgrade.GRUBUEFI {
		return loadertest.GRUBEFIFor(arch, "other")
	}
	return loadertest.LoaderOf(arch, "300")
}

// An image whose loader is for another architecture is refused before anything is armed, also when it is forced; and where such
// a file came into the slot all the same, it is never installed.
func TestLoaderForAnotherArchitectureIsRefused(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(string(loader), func(t *testing.T) {
			r := onLoader(t, loader)
			before := r.installed()
			for _, force := range []bool{false, true} {
				_, err := r.Upgrade(t.Context(), r.bringing("2.0.0", foreign(loader, "arm64")), upgrade.Options{Force: force})
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
			d, err := upgrade.DiagnoseDevice(t.Context(), r.Disk, upgrade.OpenOptions{Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "2.0.0"})
			require.NoError(t, err)
			for _, f := range d.Findings {
				require.NotContains(t, f.Do, "installer loader")
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
		img, err := images.Image("1.0.0", virtual.Spec{Own: foreign(loader, "arm64"), GRUB: loader == upgrade.GRUBUEFI})
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
		require.ErrorIs(t, err, upgrade.ErrUnfit)
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
			if loader == upgrade.GRUBUEFI {
				return loadertest.GRUBEFIOf(version)
			}
			return loadertest.LoaderOf("amd64", version)
		}
		sign := func(k loadertest.Key, image []byte) []byte {
			signed, err := k.Sign(image)
			require.NoError(t, err)
			return signed
		}
		moved := bytes.ReplaceAll(sign(key, make("251")), []byte("251"), []byte("253")) // this program, with the signature of another one
		for name, c := range map[string]struct {
			old, new []byte
			secure   []byte
			want     string // "": it is replaced
		}{
			"signed by the same":                  {sign(key, make("252")), sign(key, make("253")), []byte{1}, ""},
			"signed by somebody else":             {sign(key, make("252")), sign(other, make("253")), []byte{1}, `signed by "somebody else"`},
			"not signed":                          {sign(key, make("252")), make("253"), []byte{1}, "it is not signed"},
			"with another program's signature":    {sign(key, make("252")), moved, []byte{1}, "changed after it was signed"},
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
			"no program":          []byte("text"),
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
				d, err := upgrade.DiagnoseDevice(t.Context(), r.Disk, upgrade.OpenOptions{Vars: r.Vars, Cmdline: &r.Last.Cmdline, BootID: r.BootID(), Version: "2.0.0"})
				require.NoError(t, err)
				for _, f := range d.Findings {
					require.NotContains(t, f.Do, "installer loader")
				}
				_, err = r.replace(upgrade.LoaderOptions{Force: true})
				require.NoError(t, err, "a person may")
				r.boots(bootloader.B, "2.0.0")
			})
		}
	}
}

// A loader that was left is ours still when no slot holds it any more.
func TestLoaderThatWasLeftStaysOurs(t *testing.T) {
	for _, loader := range onUEFI {
		t.Run(string(loader), func(t *testing.T) {
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
