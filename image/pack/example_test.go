package pack_test

import (
	"context"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/image/pack"
)

// An installer image for one architecture, tagged in a layout on disk.
func Example() {
	dir, err := os.MkdirTemp("", "pack")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	l, err := pack.Create(dir)
	if err != nil {
		panic(err)
	}
	built, err := l.Add(context.Background(), pack.Image{
		Version: "1.2.3",
		Arch:    "amd64",
		Assets:  []pack.Asset{pack.Data(pack.UKIAsset, []byte("a unified kernel image"))},
	})
	if err != nil {
		panic(err)
	}
	if err := l.Tag("v1.2.3", built); err != nil {
		panic(err)
	}
	fmt.Println("oci:LAYOUT:v1.2.3 is", built.Version, "for", built.Arch)
	// Output: oci:LAYOUT:v1.2.3 is 1.2.3 for amd64
}
