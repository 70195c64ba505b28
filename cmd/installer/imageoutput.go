package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// stdout is the name of standard output.
const stdout = "-"

// make makes the disk image. What fails leaves no file; a file that cannot be made is found before the image is opened.
func (r *diskRecipe) make(c *cobra.Command) (err error) {
	said := out(c)
	var to io.Writer
	var file *disk.Output // nil for standard output
	if r.output == stdout {
		if to, err = said.Binary(); err != nil {
			return usageError{fmt.Errorf("--output -: %w", err)}
		}
		said = errs(c)
	} else {
		if file, err = disk.NewOutput(r.output); err != nil {
			return unusable(err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		to = file.File
	}
	img, err := r.from.open(c)
	if err != nil {
		return err
	}
	if err := r.write(c.Context(), to, file, img); err != nil {
		return fmt.Errorf("make %s: %w", r.output, err)
	}
	if file != nil {
		if err := file.Commit(); err != nil {
			return err
		}
	}
	said.Printf("%s: %s, %s boots %s (%s)\n", r.output, r.kind, r.size, img.Version, img.Digest)
	return nil
}

// unusable tells names that cannot be used from disks that fail.
func unusable(err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, syscall.EROFS) {
		return usageError{fmt.Errorf("--output: %w", err)}
	}
	return err
}

// write installs onto a raw disk, which is the output itself or a file beside it that is gone afterwards, and writes
// that one to the output.
func (r *diskRecipe) write(ctx context.Context, to io.Writer, file *disk.Output, img *image.Image) (err error) {
	plain := file != nil && r.kind == disk.FileType{Format: disk.RawDisk}
	made := file
	if !plain {
		dir := os.TempDir()
		if file != nil {
			dir = filepath.Dir(file.Name())
		}
		if made, err = disk.NewScratch(dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, made.Close()) }()
	}
	raw, err := made.Raw(r.bytes, r.sector)
	if err != nil {
		return err
	}
	if !r.epoch.IsZero() && r.o.Seed == "" {
		r.o.Seed = img.Digest
	}
	if r.o.Partitions, err = r.add.specs(r.o); err != nil {
		return err
	}
	if err := upgrade.Install(ctx, raw, img, r.o); err != nil || plain {
		return err
	}
	table, err := partition.Read(raw)
	if err != nil {
		return err
	}
	boot, err := table.Find(r.o.Labels.Of(partition.EFI))
	if err != nil {
		return err
	}
	began := time.Now()
	e := progress.Event{Step: "output", File: r.kind.String(), Total: r.bytes}
	o := disk.WriteOptions{
		ID: uuid.NewSHA1(table.GUID, []byte("disk image")), Time: r.epoch, Compress: r.compress,
		Name: machineName(r.output), BIOS: r.loader == loaders.GRUBBIOS, Both: r.loader == loaders.GRUB,
		EFI: disk.Area{Offset: boot.First * int64(r.sector), Size: table.Bytes(boot)},
		Progress: func(done int64) {
			e.Bytes = done
			r.o.Progress(e)
		},
	}
	if err := r.kind.Write(ctx, to, raw, o); err != nil {
		return err
	}
	r.o.Progress(progress.Event{Step: e.Step, Done: true, Elapsed: time.Since(began)})
	return nil
}

// machineName is what an OVA calls its machine: the file's name without endings, in letters that are safe in XML and in
// names of files.
func machineName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return -1
	}, name)
	return strings.TrimLeft(name[:min(len(name), 64)], "-")
}

// purposes says what the partitions are for.
var purposes = map[partition.Role]string{
	partition.EFI:       "boot file system: the loader, slots A and B",
	partition.BIOS:      "GRUB on BIOS",
	partition.Meta:      "attempts and values",
	partition.State:     "the system's own, kept",
	partition.Ephemeral: "the system's own, wiped by upgrades",
}

// draw says what would be made, without making anything.
func (r *diskRecipe) draw(c *cobra.Command) error {
	img, err := r.from.open(c)
	if err != nil {
		return err
	}
	w := out(c)
	name := cmp.Or(r.output, "disk image")
	w.Printf("%s: %s of %s, sectors of %d, started by %s\n", name, r.kind, bytesize.Text(r.bytes), r.sector, r.loader)
	if err := drawDisk(w, r.bytes, r.sector, img, r.o, &r.add); err != nil {
		return err
	}
	w.Printf("\n# the recipe, for --profile\n")
	printProfile(w, c.Flags())
	return nil
}

// drawDisk draws what a new disk holds.
func drawDisk(w *terminal.Printer, size int64, sector int, img *image.Image, o upgrade.InstallOptions,
	add *additions) error {
	specs, err := add.specs(o)
	if err != nil {
		return err
	}
	plan, err := partition.Plan(nil, size, sector, specs)
	if err != nil {
		return err
	}
	w.Printf("image: %s, version %s (%s)\n", img.Reference, cmp.Or(img.Version, "not known"), img.Digest)
	var areas []show.Area
	for _, p := range plan.Partitions {
		area := show.Area{Name: p.Label, At: p.First * int64(sector), Bytes: plan.Bytes(p)}
		for role, text := range purposes {
			if o.Labels.Of(role) == p.Label {
				area.Text = text
			}
		}
		if c := add.contents[p.Label]; c != nil {
			area.Text = strings.TrimPrefix(area.Text+"; "+c.String(), "; ")
		}
		areas = append(areas, area)
	}
	show.Disk(w, "  ", size, areas)
	var content int64
	for _, a := range img.Assets {
		w.Printf("slot A: %s, %s\n", a.Name, bytesize.Text(a.Size))
		content += a.Size
	}
	boot, err := plan.Find(o.Labels.Of(partition.EFI))
	if err != nil {
		return err
	}
	half, err := bootfs.Half(plan.Bytes(boot), sector, bootloader.Zones())
	if err != nil {
		return err
	}
	if img.Assets == nil {
		w.Printf("room: a slot can hold %s; the image does not say how large it is\n", bytesize.Text(half))
	} else {
		w.Printf("room: a slot can hold %s, the image has %s\n", bytesize.Text(half), bytesize.Text(content))
	}
	for _, a := range add.lines() {
		w.Printf("added: %s\n", a)
	}
	return nil
}
