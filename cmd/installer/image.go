package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/disk"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/upgrade"
)

// imageCommand builds a disk image: an install onto a file.
func imageCommand() *cobra.Command {
	var from source
	var output, size, seed, loader string
	var active bool
	var sector int
	var named labels
	c := &cobra.Command{
		Use:   "image --image REF --output FILE",
		Short: "Build a disk image that boots the version in an installer image",
		Args:  none,
	}
	from.flags(c)
	c.Flags().StringVar(&output, "output", "", "file to make; it must not exist")
	c.Flags().StringVar(&size, "size", "4GiB", "size of the disk; the file is sparse")
	c.Flags().IntVar(&sector, "sector-size", 512, "bytes of a sector of the disk that the image is for: 512 or 4096; one made for the other does not boot")
	c.Flags().StringVar(&seed, "seed", "", "any text; the same seed and image make the same bytes (default: random identifiers)")
	named.flag(c)
	loaderFlags(c, &loader, &active)
	_ = c.MarkFlagRequired("output")
	c.RunE = func(c *cobra.Command, _ []string) error {
		bytes, err := parseSize(size)
		if err != nil {
			return usageError{fmt.Errorf("--size: %w", err)}
		}
		switch {
		case sector != 512 && sector != 4096:
			return usageError{fmt.Errorf("--sector-size: %d, want 512 or 4096", sector)}
		case bytes%int64(sector) != 0:
			return usageError{fmt.Errorf("--size: %s is no whole number of sectors of %d bytes", size, sector)}
		}
		o := upgrade.InstallOptions{Active: active, Progress: progress(c), Log: logger()}
		if o.Loader, err = parseLoader(loader, active); err != nil {
			return err
		}
		if o.Labels, err = named.parse(); err != nil {
			return err
		}
		if o.Seed = seed; seed != "" {
			o.Now = func() time.Time { return time.Unix(0, 0).UTC() }
		}
		img, err := from.open(c)
		if err != nil {
			return err
		}
		if err := build(c.Context(), output, bytes, sector, img, o); err != nil {
			return err
		}
		out(c).Printf("%s: %s boots %s (%s)\n", output, size, img.Version, img.Digest)
		return nil
	}
	return c
}

// loaderFlags say what a new disk is started by.
func loaderFlags(c *cobra.Command, loader *string, active *bool) {
	c.Flags().StringVar(loader, "loader", string(upgrade.SystemdBoot), "what starts the disk: systemd-boot (UEFI), grub-uefi or grub-bios; the image must carry it")
	c.Flags().BoolVar(active, "active", false, "with grub-bios: set the active flag of the protective MBR, for a BIOS that wants it")
}

// parseLoader reads what loaderFlags were given.
func parseLoader(name string, active bool) (upgrade.Loader, error) {
	var names []string
	for _, l := range upgrade.Loaders {
		names = append(names, string(l))
	}
	if err := commandline.Word("loader", name, names...); err != nil {
		return "", usageError{err}
	}
	l := upgrade.Loader(name)
	if active && l != upgrade.GRUBBIOS {
		return "", usageError{fmt.Errorf("--active: it is for %s, not for %s", upgrade.GRUBBIOS, l)}
	}
	return l, nil
}

// build makes the file and installs onto it. What fails leaves no file.
func build(ctx context.Context, path string, size int64, sector int, img *image.Image, o upgrade.InstallOptions) (err error) {
	raw, err := disk.Options{SectorSize: sector}.Create(path, size)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("--output: %w", err)}
	}
	if err != nil {
		return err
	}
	defer func() {
		if e := raw.Close(); err == nil {
			err = e
		}
		if err != nil {
			os.Remove(path)
		}
	}()
	return upgrade.Install(ctx, raw, img, o)
}

// parseSize reads a number of bytes with an optional unit: K, M, G, T, each also as KiB, MiB, GiB, TiB; all are powers of 1024.
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
