package node_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// What a system that embeds the node service does in every boot. Here the machine is a file, which a model of firmware
// and loader has booted; a system gives its disk and leaves Machine empty. An operator then asks what an upgrade would
// do.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	machine, two := booted(ctx)
	defer os.RemoveAll(filepath.Dir(machine.Disk))
	machine.Checks = []node.Check{{Name: "network", Run: func(context.Context) error { return nil }}}

	s, err := node.New(machine)
	if err != nil {
		log.Fatal(err)
	}
	address := "unix:" + filepath.Join(filepath.Dir(machine.Disk), "pawl.sock")
	l, err := api.Listen(ctx, address, false)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- api.New(s, api.Options{}).Serve(ctx, l) }()
	if _, err := s.Start(ctx); err != nil { // early, before EPHEMERAL is mounted
		log.Fatal(err)
	}
	if err := s.Prove(ctx); err != nil { // once the system is up; on a trial: the checks, then confirm
		log.Fatal(err)
	}

	operator, err := client.New(address)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := operator.Plan(ctx, &pawlv1.PlanRequest{Image: two})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s from %s (slot %s) to %s (slot %s)\n", plan.Kind, plan.OldVersion, plan.From, plan.Version, plan.To)
	fmt.Println(plan.Steps)
	cancel()
	fmt.Println(errors.Join(<-served, s.Close()))
	// Output:
	// upgrade from 1.0.0 (slot A) to 2.0.0 (slot B)
	// [resolve find disarm clear write verify complete prepare arm reboot]
	// <nil>
}

// booted is a machine on a file that runs version 1.0.0, and the reference of an image of 2.0.0.
func booted(ctx context.Context) (machine node.Config, two string) {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		log.Fatal(err)
	}
	images, err := virtual.NewImages(ctx, filepath.Join(dir, "images"))
	if err != nil {
		log.Fatal(err)
	}
	one, err := images.Image("1.0.0", virtual.Spec{})
	if err != nil {
		log.Fatal(err)
	}
	if two, err = images.Reference("2.0.0", virtual.Spec{}); err != nil {
		log.Fatal(err)
	}
	raw, err := disk.Create(filepath.Join(dir, "disk.raw"), virtual.Size)
	if err != nil {
		log.Fatal(err)
	}
	defer raw.Close()
	err = upgrade.Install(ctx, raw, one, upgrade.InstallOptions{Loader: sdboot.Backend{},
		Partitions: virtual.Partitions()})
	if err != nil {
		log.Fatal(err)
	}
	vars := efivar.NewMemory()
	if _, err := predict.Boot(raw, vars, predict.Options{}); err != nil {
		log.Fatal(err)
	}
	return node.Config{
		Disk: raw.Name(),
		Machine: upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string), BootID: "first",
			Version: "1.0.0"},
	}, two
}
