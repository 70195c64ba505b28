// Package arch is the one place that knows machine architectures: what each is called, and the names and numbers by
// which firmware, loaders, kernels and images know it.
//
// Start with [Named] or [OfMachine]. A row of the table is all that another architecture needs here; no other package
// names one (a test looks). Whether such machines boot has to be tried: docs/reference/machines.md says which were.
//
// Sources: UEFI 2.10, section 3.5.1.1 (removable media boot file names); the Boot Loader Specification of the UAPI
// group (key "architecture"); Microsoft PE format, "Machine types"; OCI image specification 1.1, "Platform variants";
// Documentation/arch of Linux (boot.rst, booting.rst, boot-image-header.rst).
package arch

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Arch is one architecture.
type Arch struct {
	Name    string   // as Go and OCI say: "amd64"
	Aliases []string // what others call it: "x86_64"
	EFI     string   // as UEFI says, in lower case: "x64". It is in file names, and an entry's "architecture"
	Machine uint16   // the machine type of PE images
	ELF     uint16   // the machine of ELF files
	GRUB    string   // GRUB's platform for UEFI: "x86_64-efi"
	BIOS    string   // GRUB's platform for a BIOS; "" where no such machine has one
	Variant string   // the variant of OCI that all machines run; "" where there are none
	Kernel  Magic    // how a Linux kernel that GRUB starts begins
	Return  []byte   // machine code of an EFI program that ends with success

	// types of GPT partitions for file systems of this architecture, as the discoverable partitions specification of
	// the UAPI group has them: "root", "usr"
	Partitions map[string]string

	DeviceTree bool // a loader may hand the kernel a device tree
}

// Magic is what a format has at a place in a file.
type Magic struct {
	Format string // for people
	At     int64
	Text   string
}

// BzImage is the format of kernels for x86, whose header says how long they are. Others are EFI programs.
const BzImage = "bzImage"

// table has the architectures that Pawl installs. The first is that of a disk that tells nothing else.
var table = []Arch{
	{
		Name: "amd64", Aliases: []string{"x86_64", "x86-64", "x64"}, EFI: "x64", Machine: 0x8664,
		ELF: 62, GRUB: "x86_64-efi", BIOS: "i386-pc", Variant: "v1", Kernel: Magic{BzImage, 0x202, "HdrS"},
		Return: []byte{0x31, 0xc0, 0xc3}, // xor eax, eax; ret
		Partitions: map[string]string{
			"root": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "usr": "8484680c-9521-48c6-9c11-b0720656f69e",
		},
	},
	{
		Name: "arm64", Aliases: []string{"aarch64", "armv8"}, EFI: "aa64", Machine: 0xaa64,
		ELF: 183, GRUB: "arm64-efi", Variant: "v8", Kernel: Magic{"Image", 0x38, "ARM\x64"},
		Return: []byte{0x00, 0x00, 0x80, 0xd2, 0xc0, 0x03, 0x5f, 0xd6}, // mov x0, #0; ret
		Partitions: map[string]string{
			"root": "b921b045-1df0-41c3-af44-4c6f280d3fae", "usr": "b0e01050-ee5f-4390-949a-9101b17104e9",
		},
		DeviceTree: true,
	},
}

// others are architectures that Pawl tells apart and installs nowhere, by the machine type of PE images.
var others = map[uint16]string{0x014c: "386", 0x01c2: "arm", 0x5064: "riscv64", 0x6264: "loong64"}

// otherAliases are what others call those.
var otherAliases = map[string]string{"i386": "386", "i686": "386", "armv7": "arm"}

// All returns the architectures that Pawl installs.
func All() []Arch { return slices.Clone(table) }

// Usual is the architecture of a machine or disk of which nothing else is known.
func Usual() Arch { return table[0] }

// Named returns the architecture of that name, not of an alias. An error says which there are.
func Named(name string) (Arch, error) {
	var names []string
	for _, a := range table {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Arch{}, fmt.Errorf("architecture %q: want %s", name, strings.Join(names, " or "))
}

// OfMachine returns the architecture with that machine type of PE images. An error names what else it is for.
func OfMachine(machine uint16) (Arch, error) {
	for _, a := range table {
		if a.Machine == machine {
			return a, nil
		}
	}
	if name := others[machine]; name != "" {
		return Arch{}, fmt.Errorf("machine type %#x (%s) is not supported", machine, name)
	}
	return Arch{}, fmt.Errorf("machine type %#x is not supported", machine)
}

// OfLoader returns the architecture whose firmware looks for a loader by that name in EFI/BOOT, in any case of letters.
func OfLoader(name string) (Arch, error) {
	for _, a := range table {
		if strings.EqualFold(a.Loader(), name) {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("%q is no name by which firmware looks for a loader", name)
}

// OfKernel returns the architecture that a Linux kernel by itself is for, by how it begins. What GRUB starts nowhere is
// an error, a compressed kernel among it.
func OfKernel(kernel io.ReaderAt) (Arch, error) {
	for _, a := range table {
		begin := make([]byte, len(a.Kernel.Text))
		if n, _ := kernel.ReadAt(begin, a.Kernel.At); string(begin[:n]) == a.Kernel.Text {
			return a, nil
		}
	}
	return Arch{}, errors.New("it begins as no Linux kernel does")
}

// NameOf is the name of a machine type, of architectures that Pawl does not install too; "" for one that is not known.
func NameOf(machine uint16) string {
	if a, err := OfMachine(machine); err == nil {
		return a.Name
	}
	return others[machine]
}

// Names are all names that [NameOf] gives.
func Names() []string {
	var names []string
	for _, a := range table {
		names = append(names, a.Name)
	}
	for _, name := range others {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Canonical is the name of what others call alias; alias itself where nobody calls an architecture that.
func Canonical(alias string) string {
	for _, a := range table {
		if slices.Contains(a.Aliases, alias) {
			return a.Name
		}
	}
	if name := otherAliases[alias]; name != "" {
		return name
	}
	return alias
}

// Loader is the name that firmware looks for in EFI/BOOT when it was told no loader: "BOOTX64.EFI".
func (a Arch) Loader() string { return "BOOT" + strings.ToUpper(a.EFI) + ".EFI" }

// Removable is the path of that file on a boot file system: "EFI/BOOT/BOOTX64.EFI".
func (a Arch) Removable() string { return "EFI/BOOT/" + a.Loader() }

// SystemdBoot is what systemd calls its loader: "systemd-bootx64.efi".
func (a Arch) SystemdBoot() string { return "systemd-boot" + a.EFI + ".efi" }

// SystemdStub is what systemd calls the beginning of a UKI: "linuxx64.efi.stub".
func (a Arch) SystemdStub() string { return "linux" + a.EFI + ".efi.stub" }

// BehindShim is the loader that a shim starts, beside itself: "grubx64.efi".
func (a Arch) BehindShim() string { return "grub" + a.EFI + ".efi" }

// ShimFallback is what a shim in EFI/BOOT starts first, where it is there: "fbx64.efi".
func (a Arch) ShimFallback() string { return "fb" + a.EFI + ".efi" }
