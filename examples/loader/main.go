// Command loader takes a loader that Pawl does not bring through its life: it is installed on a file, upgraded, and
// confirmed; a second upgrade dies in its trial, and the machine falls back. The loader is uboot.go, a stand-in for
// U-Boot; model.go says how such a board boots, so that each upgrade is rehearsed. Both use only what any program can
// import. That the loader keeps what package bootloader promises is for the suite in package loadertest to show, which
// main_test.go runs.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/upgrade"
)

func main() {
	dir, err := os.MkdirTemp("", "pawl-loader-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), os.Stdout, dir); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, dir string) error {
	raw, err := disk.Create(dir+"/disk.raw", 2<<30) // sparse
	if err != nil {
		return err
	}
	defer raw.Close()
	var images []*image.Image
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		img, err := build(ctx, dir+"/"+version, version)
		if err != nil {
			return err
		}
		images = append(images, img)
	}
	if err := upgrade.Install(ctx, raw, images[0], upgrade.InstallOptions{Loader: uBoot{}}); err != nil {
		return err
	}
	b := board{disk: raw, out: out}
	m, err := b.boot(ctx, "1.0.0")
	if err != nil {
		return err
	}
	plan, err := m.Plan(ctx, images[1], upgrade.Options{})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "warnings:", plan.Warnings) // none: it was rehearsed
	if _, err := m.Apply(ctx, images[1], upgrade.Options{Tries: 2}); err != nil {
		return err
	}
	if m, err = b.boot(ctx, "2.0.0"); err != nil {
		return err
	}
	confirmed, err := m.Confirm(ctx, upgrade.Options{})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, confirmed)
	if _, err := m.Apply(ctx, images[2], upgrade.Options{}); err != nil {
		return err
	}
	if _, err = b.boot(ctx, "3.0.0"); err != nil { // which dies: nobody confirms it
		return err
	}
	_, err = b.boot(ctx, "2.0.0")
	return err
}

// board is a machine that such a loader starts.
type board struct {
	disk  *disk.Raw
	out   io.Writer
	boots int
}

// boot switches the board off and on, and does what the version that runs does early.
func (b *board) boot(ctx context.Context, version string) (*upgrade.Machine, error) {
	o, err := uBoot{}.Boot(b.disk, nil, predict.Options{})
	if err != nil {
		return nil, err
	}
	b.boots++
	fmt.Fprintf(b.out, "boot %d: slot %v, trial %v\n", b.boots, o.Slot, o.Trial)
	m, err := upgrade.OpenDevice(b.disk, upgrade.OpenOptions{
		Loaders: append(loaders.All(), uBoot{}), Cmdline: &o.Cmdline, BootID: fmt.Sprintf("boot %d", b.boots),
		Version: version,
	})
	if err != nil {
		return nil, err
	}
	boot, err := m.Started(ctx)
	if boot.Ended {
		fmt.Fprintln(b.out, boot.Attempt)
	}
	return m, err
}

// build makes an installer image with the small files that a test's kernel is made of.
func build(ctx context.Context, dir, version string) (*image.Image, error) {
	layout, err := pack.Create(dir)
	if err != nil {
		return nil, err
	}
	built, err := layout.Add(ctx, pack.Image{Version: version, Arch: "amd64", Assets: []pack.Asset{
		pack.Data(pack.KernelAsset, loadertest.LinuxImage([]byte("kernel of "+version))),
		pack.Data(pack.InitrdAsset, []byte("070701 initramfs of "+version)),
		pack.Data(pack.CmdlineAsset, []byte("console=ttyS0 panic=10")),
	}})
	if err == nil {
		err = layout.Tag(version, built)
	}
	if err != nil {
		return nil, err
	}
	return image.Open(ctx, "oci:"+layout.Dir()+":"+version, image.Options{Arch: "amd64"})
}

var _ bootloader.Backend = uBoot{}
