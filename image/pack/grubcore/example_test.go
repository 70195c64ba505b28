package grubcore_test

import (
	"context"
	"log"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/image/pack/grubcore"
)

// An image from which machines are installed with GRUB, on BIOS and on UEFI.
func Example() {
	parts, err := grubcore.Make(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	_ = []pack.Asset{
		pack.Data(pack.GRUBBootAsset, parts.Boot),
		pack.Data(pack.GRUBCoreAsset, parts.Core),
		pack.Data(pack.GRUBEFIAsset, parts.EFI),
	}
}
