package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/upgrade"
)

// upgradeCommand writes the other slot of this machine and arms it. The reboot is the caller's.
func upgradeCommand() *cobra.Command {
	var from source
	var on machine
	var o upgrade.Options
	c := &cobra.Command{
		Use:   "upgrade --image REF [--disk DISK]",
		Short: "Write a version into the other slot and arm it: the next boot is its trial",
		Args:  none,
	}
	from.flags(c)
	on.flags(c)
	choices(c, &o)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if err := checkChoices(c, o); err != nil {
			return err
		}
		o.Progress = showProgress(c)
		img, err := from.open(c)
		if err != nil {
			return err
		}
		m, err := on.open(false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		a, err := m.Apply(c.Context(), img, o)
		if err != nil {
			return err
		}
		out(c).Printf("%s; reboot to try it\n", a)
		return nil
	}
	return c
}
