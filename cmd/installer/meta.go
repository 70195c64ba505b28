package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
)

// metaCommand looks after the META partition.
func metaCommand() *cobra.Command {
	c := &cobra.Command{Use: "meta", Short: "Look after the META partition"}
	group(c)
	var on machine
	reset := &cobra.Command{
		Use:   "reset [--disk DISK]",
		Short: "Make META empty; every tag in it is lost, the slots are not touched",
		Args:  none,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			path, o, err := on.options()
			if err != nil {
				return err
			}
			d, err := openDisk(path, partition.OpenOptions{Partitions: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			p, err := d.Partition(o.Labels.Of(partition.Meta))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			if err := meta.Format(p); err != nil {
				return err
			}
			out(c).Printf("META on %s is empty\n", path)
			return nil
		},
	}
	on.flags(reset)
	c.AddCommand(reset)
	return c
}
