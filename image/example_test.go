package image_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// Open an installer image, see what it is, stream what is in it.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := build(ctx, dir); err != nil {
		panic(err)
	}

	img, err := image.Open(ctx, "oci:"+dir+":v1", image.Options{Arch: "amd64"})
	if err != nil {
		panic(err)
	}
	fmt.Println("version", img.Version)
	err = img.Extract(ctx, func(a image.Asset, r io.Reader) error {
		n, err := io.Copy(io.Discard, r) // here it would be written to a slot
		fmt.Println(a.Name, n, "bytes")
		return err
	}, nil)
	fmt.Println("every byte verified:", err == nil)
	// Output:
	// version 1.2.3
	// systemd-boot.efi 6 bytes
	// vmlinuz.efi 22 bytes
	// every byte verified: true
}

// build makes an installer image in a layout.
func build(ctx context.Context, dir string) error {
	l, err := pack.Create(dir)
	if err != nil {
		return err
	}
	built, err := l.Add(ctx, pack.Image{Version: "1.2.3", Arch: "amd64", Assets: []pack.Asset{
		pack.Data(pack.UKIAsset, []byte("a unified kernel image")),
		pack.Data(pack.LoaderAsset, []byte("loader")),
	}})
	if err != nil {
		return err
	}
	return l.Tag("v1", built)
}
