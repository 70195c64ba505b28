package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/upgrade"
)

// rollbackCommand goes back to what the other slot holds.
func rollbackCommand() *cobra.Command {
	var on machine
	c := &cobra.Command{
		Use:   "rollback [--disk DISK]",
		Short: "Go back: arm the other slot, or give up the attempt that is armed or on trial",
		Args:  none,
	}
	on.flags(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		m, err := on.open(false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		a, err := m.Rollback(c.Context(), upgrade.Options{Progress: progress(c.ErrOrStderr())})
		if err != nil {
			return err
		}
		fmt.Fprintln(c.OutOrStdout(), a)
		return nil
	}
	return c
}
