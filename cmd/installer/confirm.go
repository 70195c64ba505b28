package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/upgrade"
)

// confirmCommand makes the running slot the default.
func confirmCommand() *cobra.Command {
	var on machine
	c := &cobra.Command{
		Use:   "confirm [--disk DISK]",
		Short: "Make the running slot the default",
		Args:  none,
	}
	on.flags(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		m, err := on.open(false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		a, err := m.Confirm(c.Context(), upgrade.Options{Progress: progress(c.ErrOrStderr())})
		if err != nil {
			return err
		}
		if a == nil {
			fmt.Fprintln(c.OutOrStdout(), "the running slot is the default; META holds no attempt for it")
			return nil
		}
		fmt.Fprintln(c.OutOrStdout(), a)
		return nil
	}
	return c
}
