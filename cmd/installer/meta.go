package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/meta"
)

// metaCommand looks after the META partition.
func metaCommand() *cobra.Command {
	c := &cobra.Command{Use: "meta", Short: "Look after the META partition", Args: exactly(0)}
	var disk string
	reset := &cobra.Command{
		Use:   "reset --disk DISK",
		Short: "Make META empty; every tag in it is lost, the slots are not touched",
		Args:  exactly(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			d, err := partition.Open(disk, partition.OpenOptions{Partitions: true})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			p, err := d.Partition("META")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			if err := meta.Format(p); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "META is empty")
			return nil
		},
	}
	reset.Flags().StringVar(&disk, "disk", "", "the disk that holds META")
	_ = reset.MarkFlagRequired("disk")
	c.AddCommand(reset)
	return c
}
