package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// installRecipe is what an install onto a disk of this machine is made of.
type installRecipe struct {
	from                     source
	to                       chosen
	efivars, loader, profile string
	force, zero, dry, active bool
	labels                   labels
	add                      additions
	width                    int // of a terminal that does not say it; 0: no line there changes
}

// installCommand installs onto a disk of this machine.
func installCommand() *cobra.Command {
	r := &installRecipe{}
	c := &cobra.Command{
		Use:   "install --image REF --disk DISK",
		Short: "Install onto a disk; everything on it is lost",
		Long: "Install onto a disk; everything on it is lost.\n\n" +
			"The disk is named with --disk, or described with --disk-size, --disk-model, --disk-serial and " +
			"--disk-bus;\n" +
			"`installer disk list` has the disks of this machine. A disk on which something is found is refused, but " +
			"for\n" +
			"what an install left that did not finish.",
		Args: none,
	}
	r.flags(c)
	c.Flags().BoolVar(&r.dry, "dry-run", false,
		"refuse what would be refused, say what would be lost and made, and write nothing")
	profileFlag(c, &r.profile)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := applyProfile(c, r.profile); err != nil {
			return err
		}
		if !r.to.said() {
			return usageError{errors.New(`required flag(s) "disk" not set (see installer install --help)`)}
		}
		_, err := r.run(c)
		return err
	}
	return c
}

func (r *installRecipe) flags(c *cobra.Command) {
	r.from.flags(c)
	r.to.flags(c)
	c.Flags().StringVar(&r.efivars, "efivars", "",
		"firmware variables of the machine that will boot the disk (default: this machine's when DISK is a block "+
			"device, none when it is a file)")
	c.Flags().BoolVar(&r.force, "force", false,
		"also over what is on the disk, and also an image that looks unfit to boot")
	c.Flags().BoolVar(&r.zero, "zero", false, "write zeros over the whole disk first")
	r.labels.flag(c)
	loaderFlags(c, &r.loader, &r.active)
	r.add.flags(c)
}

// run installs, and returns which disk that was.
func (r *installRecipe) run(c *cobra.Command) (to string, err error) {
	o, err := r.options(c)
	if err != nil {
		return "", err
	}
	if to, err = r.to.path(); err != nil {
		return "", err
	}
	img, err := r.from.open(c)
	if err != nil {
		return to, err
	}
	if !r.dry {
		if err := writable(to); err != nil {
			return to, err
		}
	}
	d, err := partition.Open(to, partition.OpenOptions{ReadOnly: r.dry})
	if err != nil {
		return to, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	err = r.add.parse(&o, d.Size(), d.SectorSize())
	if small := len(r.add.wanted) == 0 && errors.Is(err, partition.ErrNoSpace); err != nil && !small {
		return to, err // of a disk that is too small, what is on it is said first
	}
	if o.Partitions, err = r.add.specs(o); err != nil {
		return to, err
	}
	if o.Vars, err = r.variables(to); err != nil {
		return to, err
	}
	if err := r.install(c.Context(), d, img, o); err != nil {
		return to, err
	}
	if r.dry {
		return to, r.draw(out(c), d, img, o)
	}
	out(c).Printf("%s boots %s (%s)\n", to, img.Version, img.Digest)
	return to, nil
}

// install has the disk that it is for in what goes wrong.
func (r *installRecipe) install(ctx context.Context, d *partition.Disk, img *image.Image,
	o upgrade.InstallOptions) error {
	err := upgrade.Install(ctx, d, img, o)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Path(), err)
	}
	return nil
}

// options are those that need no disk.
func (r *installRecipe) options(c *cobra.Command) (o upgrade.InstallOptions, err error) {
	o = upgrade.InstallOptions{Force: r.force, Zero: r.zero, DryRun: r.dry, Log: logger(),
		Progress: showProgressWide(c, r.width)}
	if o.Loader, err = parseLoader(r.loader, r.active); err != nil {
		return o, err
	}
	o.Labels, err = r.labels.parse()
	return o, err
}

// variables are those of the firmware that will boot the disk; nil where that is not known.
func (r *installRecipe) variables(to string) (efivar.Store, error) {
	dir := r.efivars
	if info, err := os.Stat(to); dir == "" && err == nil && info.Mode()&os.ModeDevice != 0 {
		dir = efivar.Dir // a file boots elsewhere: this machine's firmware is none of its business
	}
	if dir == "" {
		return nil, nil
	}
	return variables(dir)
}

// draw says what would be lost, and what would be made.
func (r *installRecipe) draw(w *terminal.Printer, d *partition.Disk, img *image.Image, o upgrade.InstallOptions) error {
	w.Printf("%s: %s, sectors of %d, started by %s\n", d.Path(), bytesize.Text(d.Size()), d.SectorSize(), r.loader)
	lost := partition.Contents(d)
	for _, c := range lost {
		w.Printf("lost: %s\n", c)
	}
	if len(lost) == 0 {
		w.Printf("lost: nothing that is known\n")
	}
	if r.zero {
		w.Printf("zeros: over the whole disk\n")
	}
	if err := drawDisk(w, d.Size(), d.SectorSize(), img, o, &r.add); err != nil {
		return err
	}
	w.Printf("nothing was written\n")
	return nil
}
