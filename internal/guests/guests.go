// Package guests makes what machines in QEMU need that run the example OS: installer images of several versions in a registry,
// and disks on which the first of them is installed.
package guests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/testregistry"
	"github.com/pawl-os/pawl/internal/vmtest"
	"github.com/pawl-os/pawl/upgrade"
)

// Tags are the versions: the first is installed, the others can be upgraded to.
var Tags = []string{"1.0.0", "2.0.0", "3.0.0"}

// World is what all machines share.
type World struct {
	Digests map[string]string // of the images, by tag

	dir      string
	loader   upgrade.Loader
	registry *testregistry.Registry
}

// New builds the images in dir and serves them, until Close.
func New(ctx context.Context, dir string, loader upgrade.Loader) (*World, error) {
	w := &World{dir: dir, loader: loader, Digests: map[string]string{}}
	if err := w.build(ctx); err != nil {
		w.Close()
		return nil, fmt.Errorf("build the guests' images: %w", err)
	}
	return w, nil
}

func (w *World) build(ctx context.Context) error {
	parts, err := osimage.FindParts()
	if err != nil {
		return err
	}
	system, err := osimage.New(parts)
	if err != nil {
		return err
	}
	layout, err := pack.Create(filepath.Join(w.dir, "images"))
	if err != nil {
		return err
	}
	if w.registry, err = testregistry.Serve("127.0.0.1:0"); err != nil {
		return err
	}
	add := system.Add
	if w.loader != upgrade.SystemdBoot {
		add = system.AddForGRUB
	}
	for _, tag := range Tags {
		built, err := add(ctx, layout, osimage.ParseTag(tag))
		if err != nil {
			return err
		}
		if _, err := layout.Push(ctx, built, w.registry.Host()+"/os:"+tag, pack.PushOptions{}); err != nil {
			return err
		}
		w.Digests[tag] = built.Digest
	}
	return nil
}

// Close stops the registry.
func (w *World) Close() {
	if w.registry != nil {
		_ = w.registry.Close()
	}
}

// Reference is an image as a guest reaches it.
func (w *World) Reference(tag string) string {
	_, port, _ := net.SplitHostPort(w.registry.Host())
	return net.JoinHostPort(vmtest.Gateway, port) + "/os:" + tag
}

// Install makes a new disk with the first version, and the machine around it, which has room for a kexec and forwards the
// port of the node service.
func (w *World) Install(ctx context.Context, name string) (vmtest.Config, error) {
	dir := filepath.Join(w.dir, name)
	c := vmtest.Config{
		Disks:     []vmtest.Disk{{Path: filepath.Join(dir, "disk.raw"), PCI: 0x10}},
		Variables: filepath.Join(dir, "variables.fd"), BIOS: w.loader == upgrade.GRUBBIOS,
		Forwards: []vmtest.Forward{{Guest: APIPort}}, Memory: 768,
	}
	if err := w.install(ctx, dir, c.Disks[0].Path); err != nil {
		return c, fmt.Errorf("install %s: %w", name, err)
	}
	return c, nil
}

// APIPort is where the guest's node service listens.
const APIPort = 7295

func (w *World) install(ctx context.Context, dir, path string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	img, err := image.Open(ctx, w.registry.Host()+"/os:"+Tags[0], image.Options{Arch: "amd64"})
	if err != nil {
		return err
	}
	raw, err := disk.Create(path, 2<<30)
	if err != nil {
		return err
	}
	err = upgrade.Install(ctx, raw, img, upgrade.InstallOptions{Loader: w.loader})
	return errors.Join(err, raw.Close())
}
