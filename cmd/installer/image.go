package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/nearest"
	"github.com/pawl-os/pawl/upgrade"
)

// diskRecipe is what a disk image is made of.
type diskRecipe struct {
	from                               source
	labels                             labels
	output, format, size, seed, loader string
	target, profile, enroll            string
	active, compress, plan             bool
	sector                             int
	add                                additions

	kind  disk.FileType
	bytes int64 // of the disk
	o     upgrade.InstallOptions
	epoch time.Time // SOURCE_DATE_EPOCH; zero without
}

// imageCommand builds a disk image: an install onto a file, and that file in the format that is asked for.
func imageCommand() *cobra.Command {
	r := &diskRecipe{}
	c := &cobra.Command{
		Use:   "image --image REF --output FILE",
		Short: "Build a disk image that boots the version in an installer image",
		Long: "Build a disk image that boots the version in an installer image, in the format that the file's name " +
			"ends in:\n" +
			".raw .img .qcow2 .vhd .vhdx .vmdk .ova .iso .tar.gz (Google's), each but the last also with .zst or .gz " +
			"behind it.\n" +
			"The file appears when it is whole. The same image, flags and SOURCE_DATE_EPOCH make the same bytes.",
		Args: none,
	}
	r.from.flags(c)
	f := c.Flags()
	f.StringVar(&r.output, "output", "", "file to make; it must not exist. - is standard output, with --output-format")
	f.StringVar(&r.format, "output-format", "",
		"format of the file, whatever its name: raw, qcow2, vhd (fixed), vhd-dynamic, vhdx, vmdk, ova, gcp or iso, "+
			"with .zst or .gz behind it to pack it")
	f.StringVar(&r.target, "target", "", "where it is to run, which says the format: "+strings.Join(targetNames(),
		", "))
	f.BoolVar(&r.compress, "compress", false,
		"with qcow2: compress each cluster; QEMU and others read such an image as it is")
	f.StringVar(&r.size, "size", "4GiB", "size of the disk; what is not used takes no room")
	f.IntVar(&r.sector, "sector-size", 512,
		"bytes of a sector of the disk that the image is for: 512 or 4096; one made for the other does not boot")
	f.StringVar(&r.seed, "seed", "", "any text; the same seed and image make the same bytes (default: random "+
		"identifiers; "+
		"with the environment variable SOURCE_DATE_EPOCH, in seconds since 1970: the image's digest)")
	f.BoolVar(&r.plan, "plan", false, "say what would be made, and make nothing")
	r.labels.flag(c)
	loaderFlags(c, &r.loader, &r.active)
	f.StringVar(&r.enroll, "enroll", "", "directory with PK.auth, KEK.auth and db.auth: systemd-boot enrolls them at the "+
		"first start\nwhere firmware has no keys (setup mode), and Secure Boot is on from then on")
	r.add.flags(c)
	profileFlag(c, &r.profile)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := applyProfile(c, r.profile); err != nil {
			return err
		}
		if err := r.check(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
			return err
		}
		r.o.Progress, r.o.Log = showProgress(c), logger()
		if r.plan {
			return r.draw(c)
		}
		return r.make(c)
	}
	return c
}

// check refuses what can be refused without the image.
func (r *diskRecipe) check(epoch string) (err error) {
	usage := func(flag string, err error) error { return usageError{fmt.Errorf("%s: %w", flag, err)} }
	if r.bytes, err = parseSize(r.size); err != nil {
		return usage("--size", err)
	}
	switch {
	case r.sector != 512 && r.sector != 4096:
		return usage("--sector-size", fmt.Errorf("%d, want 512 or 4096", r.sector))
	case r.bytes%int64(r.sector) != 0:
		return usage("--size", fmt.Errorf("%s is no whole number of sectors of %d bytes", r.size, r.sector))
	case r.output == "" && !r.plan:
		return usageError{errors.New(`required flag(s) "output" not set (see installer image --help)`)}
	case r.target != "":
		r.kind, err = r.targetKind()
		if err != nil {
			return usage("--target", err)
		}
	case r.format != "":
		r.kind, err = disk.ParseFileType(r.format)
	case r.output == stdout:
		return usage("--output -", errors.New("say what to write with --output-format"))
	default:
		r.kind, err = disk.FileTypeOf(r.output)
	}
	if err != nil {
		return usage(r.formatFlag(), err)
	}
	if err := r.kind.Fits(r.bytes, r.sector, r.compress); err != nil {
		return usage(r.formatFlag(), err)
	}
	if r.o.Loader, err = parseLoader(r.loader, r.active); err != nil {
		return err
	}
	if r.enroll != "" {
		if err := enroll(r.enroll, &r.o); err != nil {
			return usage("--enroll", err)
		}
	}
	if r.o.Labels, err = r.labels.parse(); err != nil {
		return err
	}
	if err := r.add.parse(&r.o, r.bytes, r.sector); err != nil {
		return err
	}
	if epoch != "" {
		r.epoch, err = parseEpoch(epoch)
		r.o.Now = func() time.Time { return r.epoch }
	} else if r.seed != "" {
		r.o.Now = func() time.Time { return time.Unix(0, 0).UTC() }
	}
	r.o.Seed = r.seed
	return err
}

// targets are the formats that places to run take.
var targets = map[string]disk.Format{
	"generic": disk.RawDisk, "qemu": disk.QCOW2, "aws": disk.RawDisk, "azure": disk.VHD, "gcp": disk.GCP,
	"hyperv": disk.VHDX, "vmware": disk.OVA, "iso": disk.ISO,
}

func targetNames() []string { return slices.Sorted(maps.Keys(targets)) }

// targetKind is the format for the target. A name or another flag that says another one is refused.
func (r *diskRecipe) targetKind() (disk.FileType, error) {
	format, ok := targets[r.target]
	if !ok {
		hint := nearest.Hint(r.target, targetNames())
		return disk.FileType{}, fmt.Errorf("%q: want %s%s", r.target, strings.Join(targetNames(), ", "), hint)
	}
	said, err := disk.FileType{Format: format}, error(nil)
	switch {
	case r.format != "":
		said, err = disk.ParseFileType(r.format)
	case r.output != stdout && filepath.Ext(r.output) != "":
		said, err = disk.FileTypeOf(r.output)
	}
	if err == nil && said.Format != format {
		err = fmt.Errorf("%s takes %s, and the file is to be %s: leave one out", r.target, format, said)
	}
	return said, err
}

// formatFlag is the flag that said which format.
func (r *diskRecipe) formatFlag() string {
	switch {
	case r.target != "":
		return "--target"
	case r.format != "":
		return "--output-format"
	}
	return "--output"
}

// loaderFlags say what a new disk is started by.
func loaderFlags(c *cobra.Command, loader *string, active *bool) {
	c.Flags().StringVar(loader, "loader", loaders.SystemdBoot,
		"what starts the disk: systemd-boot (UEFI), grub-uefi, grub-bios, or grub for UEFI and a BIOS alike; the image "+
			"must carry it")
	c.Flags().BoolVar(active, "active", false,
		"with grub-bios: set the active flag of the protective MBR, for a BIOS that wants it")
}

// parseLoader reads what loaderFlags were given.
func parseLoader(name string, active bool) (bootloader.Backend, error) {
	if err := commandline.Word("loader", name, loaders.Names()...); err != nil {
		return nil, usageError{err}
	}
	switch {
	case active && name == loaders.GRUBBIOS:
		return grub.Backend{BIOS: true, Active: true}, nil
	case active:
		return nil, usageError{fmt.Errorf("--active: it is for %s, not for %s", loaders.GRUBBIOS, name)}
	}
	return loaders.Named(name)
}

// parseSize reads a number of bytes with an optional unit: K, M, G, T, each also as KiB, MiB, GiB, TiB; all are powers
// of 1024.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "KMGTiB")
	unit := int64(1)
	switch strings.TrimSuffix(strings.TrimSuffix(s[len(number):], "B"), "i") {
	case "":
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	case "T":
		unit = 1 << 40
	default:
		return 0, fmt.Errorf("size %q: want a number and K, M, G or T", s)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("size %q: want a number and K, M, G or T", s)
	}
	return n * unit, nil
}
