package deaths

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
	"github.com/pawl-os/pawl/internal/harness/vmtest"
)

// world is what all cells share.
type world struct {
	Options
	dir    string
	kit    *oskit.Kit
	images map[string]*oskit.Images // by kind
}

// kind is the kind of images that a loader takes.
func kind(l string) string {
	if l == loaders.SystemdBoot {
		return "uki"
	}
	return "grub"
}

// build makes two versions of the OS for each kind of loader.
func build(ctx context.Context, dir string, o Options) (*world, error) {
	parts, err := osimage.FindGenericParts()
	if err != nil {
		return nil, err
	}
	w := &world{Options: o, dir: dir, images: map[string]*oskit.Images{}}
	if w.kit, err = oskit.New(ctx, dir, parts); err != nil {
		return nil, err
	}
	for _, l := range loadersOf(o.Cells) {
		if k := kind(l); w.images[k] == nil {
			if w.images[k], err = w.kit.Pack(ctx, k, w.kit.AddFor(l), osimage.Version{Number: "1.0.0"},
				osimage.Version{Number: "2.0.0"}); err != nil {
				return nil, errors.Join(err, w.close())
			}
		}
	}
	return w, nil
}

func (w *world) close() error { return w.kit.Close() }

// of is the images of a loader.
func (w *world) of(l string) *oskit.Images { return w.images[kind(l)] }

// armed is where the disk of a loader is kept, armed in that way for so many tries; its variables are beside it.
func (w *world) armed(l string, trial string, tries int) string {
	return filepath.Join(w.dir, fmt.Sprintf("%s%s-%d.raw", l, trial, tries))
}

func variables(disk string) string { return strings.TrimSuffix(disk, ".raw") + ".fd" }

// prepare installs 1.0.0, boots it, and arms 2.0.0 once in each way and for each number of tries. The disk is copied
// while the guest rests.
func (w *world) prepare(ctx context.Context, l string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("prepare %s: %w", l, err)
		}
	}()
	disk := filepath.Join(w.dir, l+".raw")
	if err := w.of(l).Disk(ctx, disk, "1.0.0", l); err != nil {
		return err
	}
	m, err := vmtest.Start(ctx, w.config(l, disk, ""))
	if err != nil {
		return err
	}
	defer m.Kill()
	if _, err := m.Event(w.Within, "ready"); err != nil {
		return err
	}
	for _, trial := range trials(l) {
		for _, tries := range Tries {
			order := fmt.Sprintf("run installer upgrade --image %s --tries %d", w.of(l).Remote("2.0.0"), tries)
			if trial != "" {
				order += " --trial " + trial
			}
			if _, err := m.Must(order, w.Within); err != nil {
				return err
			}
			if err := copyMachine(disk, w.armed(l, trial, tries)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) config(l string, disk, serial string) vmtest.Config {
	return vmtest.Config{
		Disks: []vmtest.Disk{{Path: disk, PCI: 0x10}}, Variables: variables(disk), BIOS: l == loaders.GRUBBIOS,
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
const rests = 30 * time.Second

// die boots one cell until a version has settled, and says what is known there.
func (w *world) die(ctx context.Context, c Cell, moment time.Duration) (s seen, err error) {
	disk := filepath.Join(w.dir, strings.ReplaceAll(c.String(), " ", "-")+".raw")
	if err := copyMachine(w.armed(c.Loader, c.Way, c.Tries), disk); err != nil {
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
