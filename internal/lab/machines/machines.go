// Package machines boots Pawl on machines that differ in how their disk is attached, in age, memory, clock and
// firmware, and has each live: an upgrade that is confirmed, then one whose kernel panics, which falls back.
//
// Start with Run. A cell is a machine and a loader. What is believed is what the guest reports: version, digest, slot,
// and the attempt as META has it. docs/reference/machines.md has every cell with its result.
package machines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/examples/os/osimage"
	"github.com/pawl-os/pawl/internal/harness/oskit"
)

// Options of a run.
type Options struct {
	Cells   []Cell        // which; nil is all
	Within  time.Duration // for a boot or a command; 0 is six minutes
	Log     io.Writer     // a line for each cell; may be nil
	Console io.Writer     // what the machines print; may be nil
}

// Result counts the cells.
type Result struct {
	Cells, OK int
	Wrong     []string // what was not as expected, a text for each cell
	Took      time.Duration
}

// String is the last line of a run.
func (r Result) String() string {
	return fmt.Sprintf("machines: cells=%d ok=%d wrong=%d seconds=%.0f", r.Cells, r.OK, len(r.Wrong), r.Took.Seconds())
}

// drivers are what a kernel needs beside those of virtual machines, as far as it has them as modules.
var drivers = []string{"nvme", "ahci", "ata_piix", "virtio_scsi", "sd_mod", "xhci_pci", "usb_storage"}

// world is what all cells share.
type world struct {
	Options
	dir    string
	images map[bool]*oskit.Images // for GRUB, or not
}

// Run boots the cells in dir, one after the other. Its error is that of a run that could not be made; what a cell did
// wrong is in the result.
func Run(ctx context.Context, dir string, o Options) (Result, error) {
	if o.Cells == nil {
		o.Cells = Cells()
	}
	if o.Within == 0 {
		o.Within = 6 * time.Minute
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	begun := time.Now()
	parts, err := osimage.FindGenericParts()
	if err != nil {
		return Result{}, err
	}
	parts.Drivers = drivers
	kit, err := oskit.New(ctx, dir, parts)
	if err != nil {
		return Result{}, err
	}
	w := &world{Options: o, dir: dir, images: map[bool]*oskit.Images{}}
	r, err := w.run(ctx, kit)
	r.Took = time.Since(begun)
	return r, errors.Join(err, kit.Close())
}

func (w *world) run(ctx context.Context, kit *oskit.Kit) (r Result, err error) {
	for _, c := range w.Cells {
		grub := c.Loader != loaders.SystemdBoot
		if w.images[grub] == nil {
			w.images[grub], err = kit.Pack(ctx, map[bool]string{false: "uki", true: "grub"}[grub], kit.AddFor(c.Loader),
				osimage.Version{Number: "1.0.0"}, osimage.Version{Number: "2.0.0"}, broken)
			if err != nil {
				return r, err
			}
		}
		begun := time.Now()
		err := w.live(ctx, c)
		if err := context.Cause(ctx); err != nil {
			return r, err
		}
		r.Cells++
		if err != nil {
			r.Wrong = append(r.Wrong, fmt.Sprintf("%v: %v", c, err))
		} else {
			r.OK++
		}
		fmt.Fprintf(w.Log, "%-44s %-9s %3.0f s  %s\n", c, map[bool]string{true: "ok", false: "WRONG"}[err == nil],
			time.Since(begun).Seconds(), c.ends())
	}
	return r, nil
}

// broken is a version whose kernel panics.
var broken = osimage.Version{Number: "2.1.0", Broken: osimage.Panics}

// live has the machine of a cell live, on a disk of its own.
func (w *world) live(ctx context.Context, c Cell) (err error) {
	dir, err := os.MkdirTemp(w.dir, "cell-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l := &life{world: w, Cell: c, images: w.images[c.Loader != loaders.SystemdBoot],
		disk: filepath.Join(dir, "disk.raw"), variables: filepath.Join(dir, "variables.fd")}
	return l.live(ctx)
}

// Only are the cells whose names contain all words; more choices are after a comma.
func Only(words string) (some []Cell) {
	for _, c := range Cells() {
		if slices.ContainsFunc(strings.Split(words, ","), func(choice string) bool {
			return !slices.ContainsFunc(strings.Fields(choice), func(w string) bool {
				return !strings.Contains(c.String(), w)
			})
		}) {
			some = append(some, c)
		}
	}
	return some
}
