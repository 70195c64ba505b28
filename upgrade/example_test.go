package upgrade_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/upgrade"
)

// A machine on a file: version 1 is installed, runs, and upgrades to version 2, which proves itself. A model of
// firmware and loader stands in for the machine; each boot is one more process of a real one.
func Example() {
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "pawl-example-"))
	defer os.RemoveAll(dir)
	one, two := build(ctx, dir, "1.0.0"), build(ctx, dir, "2.0.0")
	raw, vars := must(disk.Create(filepath.Join(dir, "disk.raw"), 2<<30)), efivar.NewMemory()
	defer raw.Close()
	boot := func(version string) *upgrade.Machine {
		o := must(predict.Boot(raw, vars, predict.Options{}))
		fmt.Println("slot", o.Slot, "boots, trial:", o.Trial)
		return must(upgrade.OpenDevice(raw, upgrade.OpenOptions{
			Loaders: loaders.All(), Vars: vars, Cmdline: new(string), BootID: "boot of " + version, Version: version,
		}))
	}

	must(0, upgrade.Install(ctx, raw, one, upgrade.InstallOptions{Loader: loaders.All()[0]}))

	m := boot("1.0.0")
	// what would happen, or why not; it is rehearsed, and nothing is written
	plan := must(m.Plan(ctx, two, upgrade.Options{}))
	fmt.Println("slot", plan.To, "is to hold", plan.Version)
	attempt := must(m.Apply(ctx, two, upgrade.Options{})) // slot B is written, read back and armed for one boot
	fmt.Println(attempt.State)

	m = boot("2.0.0")                                    // had it died, the next boot would start slot A
	must(m.Started(ctx))                                 // early in each boot: version 2 is known to have started
	fmt.Println(must(m.Confirm(ctx, upgrade.Options{}))) // its checks passed: it is the default
	boot("2.0.0")
	// Output:
	// slot A boots, trial: false
	// slot B is to hold 2.0.0
	// armed
	// slot B boots, trial: true
	// upgrade from 1.0.0 (slot A) to 2.0.0 (slot B): confirmed
	// slot B boots, trial: false
}

// build makes an installer image as a registry would hold it, with small files that the model takes for a system and
// its loader.
func build(ctx context.Context, dir, version string) *image.Image {
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	uki := must(pack.UKI(pack.UKIParts{
		Stub: section(loadertest.Stub()), Linux: section([]byte("kernel of " + version)),
		Cmdline: "panic=10", OSRelease: "VERSION_ID=" + version + "\n", Uname: "6.1.0",
	}))
	layout := must(pack.Create(filepath.Join(dir, version)))
	built := must(layout.Add(ctx, pack.Image{Version: version, Arch: "amd64", Assets: []pack.Asset{
		uki, pack.Data(pack.LoaderAsset, loadertest.Loader("amd64")),
	}}))
	must(0, layout.Tag(version, built))
	return must(image.Open(ctx, "oci:"+layout.Dir()+":"+version, image.Options{Arch: "amd64"}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
