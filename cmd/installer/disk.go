package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
)

// diskCommand looks after the partition table.
func diskCommand() *cobra.Command {
	c := &cobra.Command{Use: "disk", Short: "List disks, and look after a disk's partition table"}
	group(c)
	c.AddCommand(listCommand())
	var on machine
	var label string
	type run = func(w *terminal.Printer, path string, l partition.Labels) error
	add := func(use, short string, run run) *cobra.Command {
		sub := &cobra.Command{Use: use, Short: short, Args: none, RunE: func(c *cobra.Command, _ []string) error {
			path, o, err := on.options()
			if err != nil {
				return err
			}
			return run(out(c), path, o.Labels)
		}}
		on.flags(sub)
		c.AddCommand(sub)
		return sub
	}
	add("show [--disk DISK]", "Say which partitions there are, and what is wrong with the table", showTable)
	add("repair [--disk DISK]", "Write a damaged copy of the table anew from the good one; no partition may be in use",
		func(w *terminal.Printer, path string, _ partition.Labels) error {
			return changeTable(w, path, func(l partition.Layout, size int64) (partition.Layout, error) {
				return partition.Plan(&l, size, l.SectorSize, nil)
			})
		})
	add("grow [--disk DISK]", "After the disk grew: the last partition reaches to its end; no partition may be in "+
		"use, and the power should not fail", func(w *terminal.Printer, path string, _ partition.Labels) error {
		return changeTable(w, path, partition.Grow)
	})
	c.AddCommand(addCommand())
	wipe := add("wipe --partition LABEL [--disk DISK]",
		"Make one partition look empty, and no other; what it held is lost",
		func(w *terminal.Printer, path string, l partition.Labels) error {
			return wipePartition(w, path, label, l)
		})
	wipe.Flags().StringVar(&label, "partition", "", "label of the partition, such as EPHEMERAL or STATE")
	_ = wipe.MarkFlagRequired("partition")
	return c
}

func showTable(w *terminal.Printer, path string, _ partition.Labels) (err error) {
	d, err := lookAt(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	l, err := partition.Read(d)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	w.Printf("%s: %d bytes, sectors of %d, GUID %s\n", path, d.Size(), l.SectorSize, l.GUID)
	var rows [][]string
	for _, p := range l.Partitions {
		rows = append(rows, []string{
			strconv.Itoa(p.Number), p.Label, fmt.Sprintf("at %d", p.First*int64(l.SectorSize)),
			fmt.Sprintf("%d bytes", l.Bytes(p)), "type " + p.Type.String(),
		})
	}
	w.Rows("", rows)
	for _, problem := range l.Problems {
		w.Printf("warning: %s\n", problem)
	}
	return nil
}

// changeTable writes the table as plan has it, and says what that was good for.
func changeTable(w *terminal.Printer, path string, plan func(l partition.Layout, size int64) (partition.Layout,
	error)) (err error) {
	d, err := openDisk(path, partition.OpenOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	before, err := partition.Read(d)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	after, err := plan(before, d.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := partition.Apply(d, after); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	said := false
	for _, problem := range before.Problems {
		said = true
		w.Printf("mended: %s\n", problem)
	}
	said = sayChanges(w, before, after) || said
	if !said {
		w.Printf("%s: nothing to do\n", path)
	}
	return nil
}

// kept are the partitions that a machine needs to boot, and what empties them the right way.
var kept = map[partition.Role]string{
	partition.EFI:  "`installer install --force` makes it anew, with the whole disk",
	partition.BIOS: "`installer install --force` makes it anew, with the whole disk",
	partition.Meta: "`installer meta reset` makes it empty",
}

func wipePartition(w *terminal.Printer, path, label string, l partition.Labels) (err error) {
	for role, do := range kept {
		if label == l.Of(role) {
			return usageError{fmt.Errorf("--partition: the machine boots with %s; %s", label, do)}
		}
	}
	d, err := openDisk(path, partition.OpenOptions{Partitions: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	p, err := d.Partition(label)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := partition.Wipe(p); err != nil {
		return fmt.Errorf("%v of %s: %w", p.Entry, path, err)
	}
	w.Printf("%v of %s is wiped\n", p.Entry, path)
	return nil
}
