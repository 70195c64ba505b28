// Command build makes installer images of the example OS in an OCI layout: good versions, and broken ones for trials
// that have to fail.
//
//	go run ./examples/os/build --output /tmp/images 1.0.0 2.0.0 2.1.0-panic
//	go run ./examples/os/build --output /tmp/images-grub --grub 1.0.0 2.0.0
//	go run ./examples/os/build --output /tmp/images --push 127.0.0.1:5000/os 1.0.0 2.0.0
//	go run ./examples/os/build --output /tmp/images --serve 127.0.0.1:5055
//
// The last one builds nothing: it is a registry that has the layout's images, as 127.0.0.1:5055/os:1.0.0 and so on,
// until it is ended.
//
// Broken versions end in -corrupt, -truncated, -panic, -exit, -check-fails or -check-hangs. Everything is in package
// osimage.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image/pack"
)

func main() {
	output := flag.String("output", "", "directory of the OCI layout; made if it does not exist")
	machine := flag.String("arch", "amd64", "architecture of the machines: amd64 or arm64")
	grub := flag.Bool("grub", false, "for GRUB: a kernel and an initramfs instead of a UKI")
	push := flag.String("push", "", "also push them to this repository, HOST/REPOSITORY")
	address := flag.String("serve", "", "be a registry at HOST:PORT that has what was built before, and build nothing")
	flag.Parse()
	if *output == "" || (flag.NArg() == 0) != (*address != "") {
		fmt.Fprintln(os.Stderr, "usage: build --output DIRECTORY VERSION..., or build --output DIRECTORY --serve HOST:PORT")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *address != "" {
		err = serve(ctx, *output, *address)
	} else {
		err = build(ctx, *output, *push, *machine, flag.Args(), *grub)
	}
	if err != nil {
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
