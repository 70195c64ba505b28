package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// loaderCommand installs the loader that the running version has brought.
func loaderCommand() *cobra.Command {
	var on machine
	var force bool
	c := &cobra.Command{
		Use: "loader [--disk DISK] [--force]",
		Short: "Install the loader that the confirmed version has brought, if it differs from the one that starts " +
			"the machine",
		Long: "Install the loader that the confirmed version has brought, if it differs from the one that starts the " +
			"machine.\n\n" +
			"A confirm does this by itself where it is safe: where firmware goes on to another copy when a power cut " +
			"leaves a loader\n" +
			"that cannot be started. First the new loader has to start the machine once: the next restart goes " +
			"through the version's own\n" +
			"copy of it, and this command, or a service, installs it afterwards. Elsewhere (GRUB on BIOS, firmware " +
			"that keeps no variables,\n" +
			"disks that were laid out by an earlier version, another signature under Secure Boot, a shim in its " +
			"place) it is left. --force\n" +
			"does all of it at once all the same, but for a loader for another architecture; the machine may then " +
			"start nothing any more.",
		Args: none,
	}
	on.flags(c)
	c.Flags().BoolVar(&force, "force", false,
		"at once, whatever is in the way but another architecture: the machine may then start nothing any more")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		disk, o, err := on.options()
		if err != nil {
			return err
		}
		if err := writable(disk); err != nil {
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
		s, err := m.ReplaceLoader(c.Context(), upgrade.LoaderOptions{Force: force, Progress: showProgress(c)})
		if err != nil {
			return err
		}
		out(c).Printf("%s\n", s)
		for _, note := range s.Notes {
			out(c).Printf("warning: %s\n", note)
		}
		keepMirror(c, m, disk, mirror.KeepOptions{})
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
