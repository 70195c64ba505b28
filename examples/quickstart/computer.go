package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// computer is a machine without a machine: a disk image, firmware variables, and a model that says what would boot.
type computer struct {
	disk  *disk.Raw
	vars  *efivar.Memory
	boots int
}

// setUp makes a computer with an empty disk, and installer images of versions 1.0.0 and 2.0.0.
func setUp(ctx context.Context, dir string) (c *computer, one, two *image.Image, err error) {
	if one, two, err = images(ctx, dir+"/images"); err != nil {
		return nil, nil, nil, err
	}
	raw, err := disk.Create(dir+"/disk.raw", 2<<30) // sparse
	return &computer{disk: raw, vars: efivar.NewMemory()}, one, two, err
}

// boot switches the computer off and on and returns what the running version sees of its own machine.
func (c *computer) boot(out io.Writer, version string) (*upgrade.Machine, error) {
	o, err := predict.Boot(c.disk, c.vars, predict.Options{})
	if err != nil {
		return nil, err
	}
	c.boots++
	fmt.Fprintf(out, "boot %d: %s\n", c.boots, o)
	return upgrade.OpenDevice(c.disk, upgrade.OpenOptions{Loaders: loaders.All(),
		Vars: c.vars, Cmdline: new(string), BootID: fmt.Sprintf("boot %d", c.boots), Version: version,
	})
}

// next tells what the next boots will start, and why.
func (c *computer) next(ctx context.Context, out io.Writer) error {
	d, err := doctor.DiagnoseDevice(ctx, c.disk, upgrade.OpenOptions{Loaders: loaders.All(), Vars: c.vars,
		Cmdline: new(string), BootID: "doctor", Version: "2.0.0"})
	if err != nil {
		return err
	}
	for i, b := range d.Boots {
		fmt.Fprintf(out, "boot %d will be: slot %s, %s: %s\n", c.boots+i+1, b.Slot, b.Path, strings.Join(b.Why, " "))
	}
	fmt.Fprintln(out, "all in all:", d.Severity())
	return nil
}

// images makes installer images of versions 1.0.0 and 2.0.0. A real one has a kernel, systemd's stub and systemd-boot
// in it; these have what the model takes for them.
func images(ctx context.Context, dir string) (one, two *image.Image, err error) {
	layout, err := pack.Create(dir)
	if err != nil {
		return nil, nil, err
	}
	if one, err = add(ctx, layout, "1.0.0"); err != nil {
		return nil, nil, err
	}
	two, err = add(ctx, layout, "2.0.0")
	return one, two, err
}

func add(ctx context.Context, layout *pack.Layout, version string) (*image.Image, error) {
	section := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }
	uki, err := pack.UKI(pack.UKIParts{
		Stub: section(loadertest.Stub()), Linux: section([]byte("kernel of " + version)),
		Cmdline: "console=ttyS0 panic=10", OSRelease: "ID=quickstart\nVERSION_ID=" + version + "\n", Uname: "6.1.0",
	})
	if err != nil {
		return nil, err
	}
	assets := []pack.Asset{uki, pack.Data(pack.LoaderAsset, loadertest.Loader("amd64"))}
	built, err := layout.Add(ctx, pack.Image{Version: version, Arch: "amd64", Assets: assets})
	if err != nil {
		return nil, err
	}
	if err := layout.Tag(version, built); err != nil {
		return nil, err
	}
	return image.Open(ctx, "oci:"+layout.Dir()+":"+version, image.Options{Arch: "amd64"})
}
