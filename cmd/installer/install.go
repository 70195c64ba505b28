package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
)

// installCommand installs onto a disk of this machine.
func installCommand() *cobra.Command {
	var from source
	var to, efivars, loader string
	var force, active bool
	var named labels
	c := &cobra.Command{
		Use:   "install --image REF --disk DISK",
		Short: "Install onto a disk; everything on it is lost",
		Args:  none,
	}
	from.flags(c)
	c.Flags().StringVar(&to, "disk", "", "block device, or existing file, to install onto")
	c.Flags().StringVar(&efivars, "efivars", "",
		"firmware variables of the machine that will boot the disk (default: this machine's when DISK is a block "+
			"device, none when it is a file)")
	c.Flags().BoolVar(&force, "force", false,
		"also over an existing partition table, and also an image that looks unfit to boot")
	named.flag(c)
	loaderFlags(c, &loader, &active)
	_ = c.MarkFlagRequired("disk")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		kind, err := parseLoader(loader, active)
		if err != nil {
			return err
		}
		roles, err := named.parse()
		if err != nil {
			return err
		}
		if err := exists(to); err != nil {
			return err
		}
		img, err := from.open(c)
		if err != nil {
			return err
		}
		d, err := openDisk(to, partition.OpenOptions{})
		if err != nil {
			return err
		}
		defer func() {
			if e := d.Close(); err == nil {
				err = e
			}
		}()
		o := upgrade.InstallOptions{Loader: kind, Labels: roles, Force: force, Progress: showProgress(c), Log: logger()}
		if info, err := os.Stat(to); efivars == "" && err == nil && info.Mode()&os.ModeDevice != 0 {
			efivars = efivar.Dir // a file boots elsewhere: this machine's firmware is none of its business
		}
		if efivars != "" {
			if o.Vars, err = variables(efivars); err != nil {
				return err
			}
		}
		if err := upgrade.Install(c.Context(), d, img, o); err != nil {
			return err
		}
		out(c).Printf("%s boots %s (%s)\n", to, img.Version, img.Digest)
		return nil
	}
	return c
}
