package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	imagepack "github.com/pawl-os/pawl/image/pack"
)

// pack makes installer images of versions 1.0.0 and 2.0.0 and returns their references. A real one has a kernel, systemd's
// stub and systemd-boot in it; these have what the model takes for them.
func pack(ctx context.Context, dir string) (one, two string, err error) {
	layout, err := imagepack.Create(dir)
	if err != nil {
		return "", "", err
	}
	add := func(version string) (string, error) {
		uki, err := imagepack.UKI(imagepack.UKIParts{
			Stub: section(loadertest.Stub()), Linux: section([]byte("kernel of " + version)),
			Cmdline: "console=ttyS0 panic=10", OSRelease: "ID=quickstart\nVERSION_ID=" + version + "\n", Uname: "6.1.0",
		})
		if err != nil {
			return "", err
		}
		built, err := layout.Add(ctx, imagepack.Image{Version: version, Arch: "amd64", Assets: []imagepack.Asset{
			uki, imagepack.Data(imagepack.LoaderAsset, loadertest.Loader("amd64")),
		}})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("oci:%s:%s", dir, version), layout.Tag(version, built)
	}
	if one, err = add("1.0.0"); err != nil {
		return "", "", err
	}
	two, err = add("2.0.0")
	return one, two, err
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}
