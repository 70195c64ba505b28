package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/image/pack"
)

// checkRoot refuses flags that do not go with each other.
func (r recipe) checkRoot() error {
	if r.verity && r.root == "" {
		return errors.New("--verity is of a root file system: give --root, too")
	}
	return nil
}

// rootImage is the root file system image, if there is to be one, and adds to the kernel's arguments by which root hash
// it is trusted. Its layer goes below what boots, by which an upgrade sees early what an image is: layers are read from
// the top down. The caller closes what is opened, after an error too.
func (r recipe) rootImage(ctx context.Context, version string, p *pack.UKIParts) ([]pack.Asset, []io.Closer, error) {
	if r.root == "" {
		return nil, nil, nil
	}
	argument := cmdline.Verity + bootloader.RootImage
	if _, set, err := cmdline.One(p.Cmdline, argument); set || err != nil {
		return nil, nil, fmt.Errorf("--cmdline: %s is added where --root and --verity are given; leave it out", argument)
	}
	f, err := os.Open(r.root)
	if err != nil {
		return nil, nil, fmt.Errorf("--root: %w", err)
	}
	opened := []io.Closer{f}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", r.root)
	}
	if err != nil {
		return nil, opened, fmt.Errorf("--root: %w", err)
	}
	root, err := pack.FileSystem(ctx, bootloader.RootImage, version, f, info.Size(), r.verity)
	if err != nil {
		return nil, opened, fmt.Errorf("--root: %w", err)
	}
	if root.Verity != "" { // in front of a "--": what is behind it is for init
		p.Cmdline = strings.TrimSpace(argument + "=" + root.Verity + " " + p.Cmdline)
	}
	return []pack.Asset{root}, opened, nil
}
