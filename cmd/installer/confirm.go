package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// confirmCommand makes the running slot the default.
func confirmCommand() *cobra.Command {
	var on machine
	c := &cobra.Command{
		Use:   "confirm [--disk DISK]",
		Short: "Make the running slot the default, then install its own loader if that differs",
		Args:  none,
	}
	on.flags(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		m, err := on.open(false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		a, err := m.Confirm(c.Context(), upgrade.Options{Ordered: true, Progress: showProgress(c)})
		if err != nil {
			return err
		}
		if a == nil {
			out(c).Printf("the running slot is the default; META holds no attempt for it\n")
		} else {
			out(c).Printf("%s\n", a)
		}
		// The version is confirmed, whatever becomes of its loader.
		own, err := m.ReplaceLoader(c.Context(), upgrade.LoaderOptions{})
		if err == nil && own.Waits {
			out(c).Printf("%s\n", own)
		}
		if err != nil && !errors.Is(err, bootloader.ErrOlder) {
			terminal.To(c.ErrOrStderr()).Printf("warning: %v\n", err)
		}
		keepMirror(c, m.Machine, m.disk, mirror.KeepOptions{})
		return nil
	}
	return c
}
