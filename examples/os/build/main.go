// Command build makes installer images of the example OS in an OCI layout: good versions, and broken ones for trials
// that have to fail.
//
//	go run ./examples/os/build --output /tmp/images 1.0.0 2.0.0 2.1.0-panic
//	go run ./examples/os/build --output /tmp/images-grub --grub 1.0.0 2.0.0
//	go run ./examples/os/build --output /tmp/images --push 127.0.0.1:5000/os 1.0.0 2.0.0
//
// Broken versions end in -corrupt, -truncated, -panic, -exit, -check-fails or -check-hangs. Everything is in package
// osimage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image/pack"
)

func main() {
	output := flag.String("output", "", "directory of the OCI layout; made if it does not exist")
	machine := flag.String("arch", "amd64", "architecture of the machines: amd64 or arm64")
	grub := flag.Bool("grub", false, "for GRUB: a kernel and an initramfs instead of a UKI")
	push := flag.String("push", "", "also push them to this repository, HOST/REPOSITORY")
	flag.Parse()
	if *output == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: build --output DIRECTORY VERSION...")
		os.Exit(2)
	}
	if err := build(context.Background(), *output, *push, *machine, flag.Args(), *grub); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(ctx context.Context, output, push, machine string, tags []string, grub bool) error {
	layout, err := pack.Create(output)
	if err != nil {
		return err
	}
	parts, err := osimage.FindPartsFor(machine)
	if err != nil {
		return err
	}
	system, err := osimage.New(parts)
	if err != nil {
		return err
	}
	add := system.Add
	if grub {
		add = system.AddForGRUB
	}
	for _, tag := range tags {
		built, err := add(ctx, layout, osimage.ParseTag(tag))
		if err != nil {
			return err
		}
		if push != "" {
			if _, err := layout.Push(ctx, built, push+":"+tag, pack.PushOptions{}); err != nil {
				return err
			}
		}
		fmt.Printf("oci:%s:%s %s\n", output, tag, built.Digest)
	}
	return nil
}
