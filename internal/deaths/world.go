package deaths

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/testregistry"
	"github.com/pawl-os/pawl/internal/vmtest"
	"github.com/pawl-os/pawl/upgrade"
)

// world is what all cells share.
type world struct {
	Options
	dir       string
	port      string // of the registry on the host's loopback
	installer string // the program
	registry  *testregistry.Registry
	digests   map[string]string // of the images, by loader and version
}

// kinds of images: one for systemd-boot, one for GRUB.
func kind(l upgrade.Loader) string {
	if l == upgrade.SystemdBoot {
		return "uki"
	}
	return "grub"
}

// build makes the two versions of the OS for each kind of loader, and the installer.
func build(ctx context.Context, dir string, o Options) (*world, error) {
	w := &world{Options: o, dir: dir, installer: filepath.Join(dir, "installer"), digests: map[string]string{}}
	parts, err := osimage.FindGenericParts()
	if err != nil {
		return nil, err
	}
	system, err := osimage.New(parts)
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", w.installer, "github.com/pawl-os/pawl/cmd/installer").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the installer: %w: %s", err, out)
	}
	if w.registry, err = testregistry.Serve("127.0.0.1:0"); err != nil {
		return nil, err
	}
	if _, w.port, err = net.SplitHostPort(w.registry.Host()); err != nil {
		return nil, err
	}
	for _, l := range loadersOf(o.Cells) {
		layout, err := pack.Create(filepath.Join(dir, kind(l)))
		if err != nil {
			return nil, err
		}
		add := system.Add
		if l != upgrade.SystemdBoot {
			add = system.AddForGRUB
		}
		for _, version := range []string{"1.0.0", "2.0.0"} {
			built, err := add(ctx, layout, osimage.Version{Number: version})
			if err != nil {
				return nil, err
			}
			if _, err := layout.Push(ctx, built, "127.0.0.1:"+w.port+"/"+kind(l)+":"+version, pack.PushOptions{}); err != nil {
				return nil, err
			}
			w.digests[string(l)+version] = built.Digest
		}
	}
	return w, nil
}

func (w *world) close() { w.registry.Close() }

// armed is where the disk of a loader is kept, armed for so many tries; its variables are beside it.
func (w *world) armed(l upgrade.Loader, tries int) string {
	return filepath.Join(w.dir, fmt.Sprintf("%s-%d.raw", l, tries))
}

func variables(disk string) string { return strings.TrimSuffix(disk, ".raw") + ".fd" }

// prepare installs 1.0.0, boots it, and arms 2.0.0 once for each number of tries. The disk is copied while the guest rests.
func (w *world) prepare(ctx context.Context, l upgrade.Loader) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("prepare %s: %w", l, err)
		}
	}()
	disk := filepath.Join(w.dir, string(l)+".raw")
	out, err := exec.CommandContext(ctx, w.installer, "image", "--image", "oci:"+filepath.Join(w.dir, kind(l))+":1.0.0", "--loader", string(l), "--output", disk).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	m, err := vmtest.Start(ctx, w.config(l, disk, ""))
	if err != nil {
		return err
	}
	defer m.Kill()
	if _, err := m.Event(w.Within, "ready"); err != nil {
		return err
	}
	for _, tries := range Tries {
		ref := vmtest.Gateway + ":" + w.port + "/" + kind(l) + ":2.0.0"
		if _, err := m.Must(fmt.Sprintf("run installer upgrade --image %s --tries %d", ref, tries), w.Within); err != nil {
			return err
		}
		if err := copyMachine(disk, w.armed(l, tries)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) config(l upgrade.Loader, disk, serial string) vmtest.Config {
	return vmtest.Config{
		Disks: []vmtest.Disk{{Path: disk, PCI: 0x10}}, Variables: variables(disk), BIOS: l == upgrade.GRUBBIOS,
		Watchdog: w.Watchdog, Serial: serial, Log: w.Console,
	}
}

// copyMachine copies a disk, without its holes, and the variables beside it.
func copyMachine(from, to string) error {
	for _, pair := range [][2]string{{from, to}, {variables(from), variables(to)}} {
		if _, err := os.Stat(pair[0]); err != nil && strings.HasSuffix(pair[0], ".fd") {
			continue // a BIOS has none
		}
		if out, err := exec.Command("cp", "--sparse=always", pair[0], pair[1]).CombinedOutput(); err != nil {
			return fmt.Errorf("copy %s: %w: %s", pair[0], err, out)
		}
	}
	return nil
}

// rests is how long a machine that hangs is watched before its power is cycled: longer than the watchdog's 20 seconds.
const rests = 40 * time.Second

// die boots one cell until a version has settled, and says what is known there.
func (w *world) die(ctx context.Context, c Cell, moment time.Duration) (s seen, err error) {
	disk := filepath.Join(w.dir, strings.ReplaceAll(c.String(), " ", "-")+".raw")
	if err := copyMachine(w.armed(c.Loader, c.Tries), disk); err != nil {
		return s, err
	}
	defer os.Remove(disk)
	defer os.Remove(variables(disk))
	if c.Death.to != nil {
		if err := c.Death.to(&armedDisk{disk, c.Loader}); err != nil {
			return s, err
		}
	}
	if c.Death.forget {
		if err := vmtest.ResetVariables(variables(disk)); err != nil {
			return s, err
		}
	}
	serial := ""
	if c.Death.how != "" {
		serial = "2.0.0:" + c.Death.how
	}
	d := &dying{world: w, cell: c, config: w.config(c.Loader, disk, serial), boots: map[string]bool{}}
	return d.settle(ctx, moment)
}
