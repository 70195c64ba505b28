package arch_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/bootorder"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/bootloader/uki"
)

func TestWhatAnArchitectureIsCalled(t *testing.T) {
	for _, a := range arch.All() {
		same, err := arch.Named(a.Name)
		require.NoError(t, err)
		require.Equal(t, a, same)
		same, err = arch.OfMachine(a.Machine)
		require.NoError(t, err)
		require.Equal(t, a, same)
		same, err = arch.OfLoader(a.Loader())
		require.NoError(t, err)
		require.Equal(t, a, same)
		for _, alias := range a.Aliases {
			require.Equal(t, a.Name, arch.Canonical(alias))
			_, err := arch.Named(alias)
			require.ErrorContains(t, err, "want amd64 or arm64", "an alias is no name")
		}
		require.Equal(t, a.Name, arch.Canonical(a.Name))
		require.Equal(t, a.Name, arch.NameOf(a.Machine))
		require.Contains(t, arch.Names(), a.Name)
		same, err = arch.OfKernel(bytes.NewReader(loadertest.LinuxImageFor(a.Name, []byte("kernel"))))
		require.NoError(t, err)
		require.Equal(t, a, same)
	}
	_, err := arch.OfMachine(0x5064)
	require.ErrorContains(t, err, "machine type 0x5064 (riscv64) is not supported")
	_, err = arch.OfMachine(0x1234)
	require.ErrorContains(t, err, "machine type 0x1234 is not supported")
	_, err = arch.OfLoader("GRUBX64.EFI")
	require.Error(t, err)
	_, err = arch.OfKernel(bytes.NewReader([]byte("\x1f\x8b a compressed kernel")))
	require.Error(t, err)
	require.Equal(t, "s390x", arch.Canonical("s390x"))
	require.Empty(t, arch.NameOf(0x1234))
}

// riscv64 as UEFI 2.10, the PE format and Documentation/arch/riscv/boot-image-header.rst of Linux have it.
var riscv64 = arch.Arch{
	Name: "riscv64", EFI: "riscv64", Machine: 0x5064, GRUB: "riscv64-efi", Kernel: arch.Magic{
		Format: "Image", At: 0x38, Text: "RSC\x05"},
	Return:     []byte{0x13, 0x05, 0x00, 0x00, 0x67, 0x80, 0x00, 0x00}, // li a0, 0; ret
	DeviceTree: true,
}

// A row is all that another architecture needs: with it both loaders install, upgrade, confirm and fall back, cut at
// every write, as the model has it.
func TestARowIsEnough(t *testing.T) {
	_, err := uki.Addon("riscv64", "quiet")
	require.Error(t, err, "it is not there yet")
	arch.Add(t, riscv64)
	for _, a := range arch.All()[1:] { // the usual one is what the loaders' own tests install
		t.Run(a.Name, func(t *testing.T) {
			options := predict.Options{Arch: a.Name}
			t.Run("systemd-boot", func(t *testing.T) {
				loadertest.Conformance(t, loadertest.Subject{Backend: sdboot.Backend{}, Options: options,
					Files: map[string][]byte{"systemd-boot.efi": loadertest.Loader(a.Name)}})
			})
			t.Run("GRUB", func(t *testing.T) {
				loadertest.Conformance(t, loadertest.Subject{Backend: grub.Backend{}, Options: options, Separate: true,
					Files: map[string][]byte{"grub.efi": loadertest.GRUBEFIFor(a.Name, "")}})
			})
			kernel := loadertest.LinuxImageFor(a.Name, bytes.Repeat([]byte("kernel "), 1000))
			for what, err := range map[string]error{
				"GRUB":         grub.Backend{}.CheckKernel(bytes.NewReader(kernel), int64(len(kernel)), a.Name),
				"systemd-boot": sdboot.Backend{}.CheckKernel(bytes.NewReader(kernel), int64(len(kernel)), a.Name),
			} {
				require.NoError(t, err, what)
			}
			require.Error(t, grub.Backend{}.CheckKernel(bytes.NewReader(kernel), int64(len(kernel))-4096, a.Name),
				"one that is cut short")
			require.Error(t, grub.Backend{}.CheckKernel(bytes.NewReader(kernel), int64(len(kernel)), arch.Usual().Name))
			require.Error(t, grub.Backend{BIOS: true}.CheckKernel(bytes.NewReader(kernel), int64(len(kernel)), a.Name))
			addon, err := uki.Addon(a.Name, "quiet")
			require.NoError(t, err)
			machine, err := bootorder.Machine(addon)
			require.NoError(t, err)
			require.Equal(t, a, machine)
		})
	}
}

// A disk with loaders for several machines is for those that its slots are for.
func TestADiskWithSeveralLoaders(t *testing.T) {
	for _, a := range arch.All() {
		m, err := loadertest.NewMachine(512)
		require.NoError(t, err)
		m.Options.Arch = a.Name
		f, err := m.FS()
		require.NoError(t, err)
		for _, other := range arch.All() {
			require.NoError(t, sdboot.Install(f, loadertest.Loader(other.Name)))
		}
		require.Equal(t, arch.Usual().Removable(), bootorder.MadeFor(f).Removable(), "nothing says otherwise")
		require.Equal(t, arch.Usual().Name, predict.Made(m.Disk).Arch)
		_, err = m.Fill(f, "B", "1")
		require.NoError(t, err)
		require.Equal(t, a.Removable(), bootorder.MadeFor(f).Removable())
		require.Equal(t, a.Name, predict.Made(m.Disk).Arch)
		for _, other := range arch.All() {
			require.NoError(t, f.Remove(other.Removable()))
		}
		require.Equal(t, a.Removable(), bootorder.MadeFor(f).Removable(), "none is there: where it belongs")
	}
}
