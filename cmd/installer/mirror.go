package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/mirror"
)

// mirrorCommand makes a second boot file system, keeps it, and ends it.
func mirrorCommand() *cobra.Command {
	var on machine
	var onto string
	var remove bool
	c := &cobra.Command{
		Use:   "mirror [--on DISK | --remove] [--disk DISK]",
		Short: "Make a second boot file system, from which the machine starts when the first is gone; or bring it in step",
		Long: "Make a second boot file system (--on), bring the one that there is in step, or end it (--remove).\n\n" +
			"It holds what the first one does, but for the slot that is not the default, and firmware goes on to it " +
			"when it\n" +
			"cannot start the first. It takes a partition of the same size, from free space or in a new table on an " +
			"empty\n" +
			"disk. A service and `installer confirm` keep it in step after each confirm; `installer doctor` judges it.",
		Args: none,
	}
	on.flags(c)
	c.Flags().StringVar(&onto, "on", "", "make it on this disk, another one or the machine's own; of that no partition "+
		"may be in use")
	c.Flags().BoolVar(&remove, "remove", false, "end it: it starts nothing any more, and its partition stays")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if onto != "" && remove {
			return usageError{errors.New("--on and --remove: want one of them (see installer mirror --help)")}
		}
		disk, o, err := on.options()
		if err != nil {
			return err
		}
		if err := writable(disk); err != nil {
			return err
		}
		e, err := around(disk, onto)
		if err != nil {
			return err
		}
		var guid uuid.UUID
		if onto != "" {
			if guid, err = layMirror(disk, onto, o); err != nil {
				return err
			}
		}
		return changeMirror(c.Context(), out(c), disk, o, func(ctx context.Context, m *upgrade.Machine) (mirror.Report,
			error) {
			switch {
			case remove:
				return mirror.Report{}, mirror.Forget(m, e)
			case onto != "":
				return mirror.Make(ctx, m, e, guid)
			}
			return mirror.Keep(ctx, m, e, mirror.KeepOptions{Deep: true, Move: true})
		})
	}
	return c
}

// around are the disks on which a mirror may lie, the one that was named among them.
func around(disk, named string) (mirror.Elsewhere, error) {
	e, err := mirror.Around(disk)
	if err != nil || named == "" {
		return e, err
	}
	at, err := os.Stat(named)
	if err != nil {
		return e, usageError{fmt.Errorf("--on: %w", err)}
	}
	known := func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && os.SameFile(info, at)
	}
	if !known(disk) && !slices.ContainsFunc(e.Paths, known) {
		e.Paths = append(e.Paths, named)
	}
	return e, nil
}

// layMirror makes the partition. The machine is only looked at, so that its own disk may be the one.
func layMirror(disk, onto string, o upgrade.OpenOptions) (guid uuid.UUID, err error) {
	if err := writable(onto); err != nil {
		return guid, err
	}
	o.ReadOnly = true
	m, err := upgrade.Open(disk, o)
	if err != nil {
		return guid, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	d, err := partition.Open(onto, partition.OpenOptions{})
	if err != nil {
		return guid, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return mirror.Lay(m, d)
}

func changeMirror(ctx context.Context, w *terminal.Printer, disk string, o upgrade.OpenOptions,
	change func(context.Context, *upgrade.Machine) (mirror.Report, error)) (err error) {
	m, err := upgrade.Open(disk, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r, err := change(ctx, m)
	switch {
	case err != nil:
		return err
	case r.On == "":
		w.Printf("There is no second boot file system any more.\n")
	default:
		w.Printf("%s\n", r)
	}
	return nil
}

// keepMirror brings the second boot file system in step after something of the first has changed. What is changed is
// changed, whatever becomes of it.
func keepMirror(c *cobra.Command, m *upgrade.Machine, disk string, o mirror.KeepOptions) {
	e, err := mirror.Around(disk)
	if err == nil {
		_, err = mirror.Keep(c.Context(), m, e, o)
	}
	if err != nil && !errors.Is(err, mirror.ErrNone) {
		errs(c).Printf("warning: %v\n", err)
	}
}

// mirrorWarning is mirror.Warning of the machine on a disk.
func mirrorWarning(m *upgrade.Machine, disk string) string {
	e, err := mirror.Around(disk)
	var r mirror.Report
	if err == nil {
		r, err = mirror.Look(m, e, false)
	}
	return mirror.Warning(r, err)
}
