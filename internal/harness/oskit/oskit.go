// Package oskit has what it takes to boot the example OS in machines: its images, in a layout and in a registry that
// guests reach, the installer, and disks that it makes.
//
// Start with NewNodes for machines that are upgraded through their node service. For anything else start with New, then
// Kit.Pack for each kind of images. It is for tests, for the commands behind `make boots` and for measurements; it
// starts no machine.
package oskit

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// Kit is what all images share.
type Kit struct {
	Dir       string // where all of it is; the caller's
	Installer string // the program
	System    *osimage.OS

	registry *testregistry.Registry
	port     string
}

// New builds the OS of these parts and the installer, and serves an empty registry. Close ends that.
func New(ctx context.Context, dir string, parts osimage.Parts) (*Kit, error) {
	k := &Kit{Dir: dir, Installer: filepath.Join(dir, "installer")}
	var err error
	if k.System, err = osimage.New(parts); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-o", k.Installer,
		"github.com/pawl-os/pawl/cmd/installer").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("build the installer: %w: %s", err, out)
	}
	if k.registry, err = testregistry.Serve("127.0.0.1:0"); err != nil {
		return nil, err
	}
	_, k.port, err = net.SplitHostPort(k.registry.Host())
	return k, err
}

// Close ends the registry.
func (k *Kit) Close() error { return k.registry.Close() }

// Images are versions of the OS for one kind of loader.
type Images struct {
	*Kit
	Repository string            // its name, and that of the layout
	Digests    map[string]string // by tag
}

// Add is what makes an image: a method of osimage.OS.
type Add func(context.Context, *pack.Layout, osimage.Version) (pack.Built, error)

// AddFor is what makes the images that a loader takes.
func (k *Kit) AddFor(l string) Add {
	if l == loaders.SystemdBoot {
		return k.System.Add
	}
	return k.System.AddForGRUB
}

// Pack makes images, and puts them into the registry too.
func (k *Kit) Pack(ctx context.Context, name string, add Add, versions ...osimage.Version) (*Images, error) {
	i := &Images{Kit: k, Repository: name, Digests: map[string]string{}}
	layout, err := pack.Create(filepath.Join(k.Dir, name))
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		built, err := add(ctx, layout, v)
		if err != nil {
			return nil, err
		}
		if _, err := layout.Push(ctx, built, fmt.Sprintf("127.0.0.1:%s/%s:%s", k.port, name, v.Tag()),
			pack.PushOptions{}); err != nil {
			return nil, err
		}
		i.Digests[v.Tag()] = built.Digest
	}
	return i, nil
}

// Local is the reference of a version for the host.
func (i *Images) Local(tag string) string {
	return "oci:" + filepath.Join(i.Dir, i.Repository) + ":" + tag
}

// Remote is the reference of a version for a guest.
func (i *Images) Remote(tag string) string {
	return fmt.Sprintf("%s:%s/%s:%s", vmtest.Gateway, i.port, i.Repository, tag)
}

// Disk makes the disk image of a version with the program that an operator uses.
func (i *Images) Disk(ctx context.Context, path, tag string, loader string) error {
	c := exec.CommandContext(ctx, i.Installer, "image", "--image", i.Local(tag), "--loader", loader, "--arch",
		i.System.Arch(), "--output", path)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("make the disk image: %w: %s", err, out)
	}
	return nil
}
