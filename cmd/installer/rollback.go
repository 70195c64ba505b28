package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/upgrade"
)

// rollbackCommand goes back to what the other slot holds.
func rollbackCommand() *cobra.Command {
	var on machine
	var o upgrade.Options
	c := &cobra.Command{
		Use:   "rollback [--disk DISK]",
		Short: "Go back: arm the other slot, or give up the attempt that is armed or on trial",
		Args:  none,
	}
	on.flags(c)
	c.Flags().BoolVar(&o.Force, "force", false, "also to a version that failed its trial, or that never proved itself")
	c.Flags().StringVar(&o.Way, "trial", "", "as of upgrade")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if err := checkTrial(c, o.Way); err != nil {
			return err
		}
		m, err := on.open(false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		o.Progress = showProgress(c)
		a, err := m.Rollback(c.Context(), o)
		if err != nil {
			return err
		}
		out(c).Printf("%s\n", a)
		return nil
	}
	return c
}
