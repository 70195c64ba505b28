// Command outsider is what somebody else's program needs: it installs the first image on a file, upgrades to the
// second, and confirms.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/upgrade"
)

func main() {
	ctx, vars := context.Background(), efivar.NewMemory()
	one := must(image.Open(ctx, os.Args[2], image.Options{Arch: "amd64"}))
	two := must(image.Open(ctx, os.Args[3], image.Options{Arch: "amd64"}))
	raw := must(disk.Create(os.Args[1], 2<<30))
	must(0, upgrade.Install(ctx, raw, one, upgrade.InstallOptions{Loader: loaders.All()[0]}))
	boot := func(id, version string) *upgrade.Machine { // a model stands in for the machine
		must(predict.Boot(raw, vars, predict.Options{}))
		o := upgrade.OpenOptions{Loaders: loaders.All(), Vars: vars, Cmdline: new(string), BootID: id, Version: version}
		return must(upgrade.OpenDevice(raw, o))
	}
	must(boot("first", one.Version).Apply(ctx, two, upgrade.Options{}))
	m := boot("second", two.Version)
	must(m.Started(ctx))
	fmt.Println(must(m.Confirm(ctx, upgrade.Options{})))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
