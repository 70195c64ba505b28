package grubcore_test

import (
	"context"
	"log"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/pack/grubcore"
)

// An image from which machines are installed with GRUB, on BIOS and on UEFI.
func Example() {
	parts, err := grubcore.Make(context.Background(), "amd64", grubcore.Dir)
	if err != nil {
		log.Fatal(err)
	}
	_ = pack.Image{Version: "1.0.0", Arch: "amd64", Assets: parts.Assets()} // and a kernel with its initramfs
}
