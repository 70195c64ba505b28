package arch_test

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader/arch"
)

func Example() {
	for _, a := range arch.All() {
		fmt.Println(a.Name, a.Removable(), a.SystemdBoot(), a.GRUB)
	}
	// Output:
	// amd64 EFI/BOOT/BOOTX64.EFI systemd-bootx64.efi x86_64-efi
	// arm64 EFI/BOOT/BOOTAA64.EFI systemd-bootaa64.efi arm64-efi
}
