package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/upgrade"
)

// loaderCommand installs the loader that the running version has brought.
func loaderCommand() *cobra.Command {
	var on machine
	var force bool
	c := &cobra.Command{
		Use:   "loader [--disk DISK] [--force]",
		Short: "Install the loader that the confirmed version has brought, if it differs from the one that starts the machine",
		Long: "Install the loader that the confirmed version has brought, if it differs from the one that starts the machine.\n\n" +
			"A confirm does this by itself where it is safe: where firmware goes on to another copy when a power cut leaves a loader\n" +
			"that cannot be started. Elsewhere (GRUB on BIOS, firmware that keeps no variables, disks that were laid out by an earlier\n" +
			"version) it is left; --force does it all the same. A power cut while it does may then leave a machine that starts nothing.",
		Args: none,
	}
	on.flags(c)
	c.Flags().BoolVar(&force, "force", false, "also where a power cut meanwhile may leave a machine that starts nothing, and also an older loader")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		disk, o, err := on.options()
		if err != nil {
			return err
		}
		o.Whole, err = needsWhole(disk, o, force)
		if err != nil {
			return err
		}
		m, err := upgrade.Open(disk, o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		s, err := m.ReplaceLoader(c.Context(), upgrade.LoaderOptions{Force: force, Progress: progress(c)})
		if err != nil {
			return err
		}
		out(c).Printf("%s\n", s)
		for _, note := range s.Notes {
			out(c).Printf("warning: %s\n", note)
		}
		return nil
	}
	return c
}

// needsWhole reports whether the loader is in none of the disk's partitions that are opened otherwise.
func needsWhole(disk string, o upgrade.OpenOptions, force bool) (whole bool, err error) {
	if !force {
		return false, nil
	}
	o.ReadOnly = true
	m, err := upgrade.Open(disk, o)
	if err != nil {
		return false, err
	}
	return m.InWholeDisk(), m.Close()
}
