package main

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
)

// addCommand makes a pair of partitions for an image of the slots, on a disk that was installed without.
func addCommand() *cobra.Command {
	var on machine
	var name, size, machineArch string
	c := &cobra.Command{
		Use: "add --image NAME --size BYTES [--disk DISK]",
		Short: "Make a pair of partitions for a file system image of the slots, from free space; no partition may be in " +
			"use, and the power should not fail",
		Long: "Make a pair of partitions for a file system image of the slots, such as root, from free space: one\n" +
			"for each slot. What is there stays where it is. Free space is what a disk has behind its last\n" +
			"partition after it grew. Nothing of the new partitions is written. No partition of the disk may be in\n" +
			"use, and the power should not fail: see \"Not promised\".",
		Args: none,
	}
	on.flags(c)
	c.Flags().StringVar(&name, "image", "root", "name of the image")
	c.Flags().StringVar(&size, "size", "", "bytes of each half, such as 2G: room for what the image will be, "+
		"since nothing grows it later")
	c.Flags().StringVar(&machineArch, "arch", "", "architecture, to give the partitions its type for such an image "+
		"(default: that of any Linux file system)")
	_ = c.MarkFlagRequired("size")
	c.RunE = func(c *cobra.Command, _ []string) error {
		pair, err := pairOf(name, size, machineArch)
		if err != nil {
			return usageError{err}
		}
		path, o, err := on.options()
		if err != nil {
			return err
		}
		return addPair(out(c), path, pair, o.Labels)
	}
	return c
}

// pairOf reads what pair is asked for.
func pairOf(name, size, machine string) (p partition.Pair, err error) {
	if err := bootloader.CheckImageName(name); err != nil {
		return p, fmt.Errorf("--image: %w", err)
	}
	if machine != "" {
		if err := checkArch(machine); err != nil {
			return p, err
		}
	}
	p.Image = name
	if p.Size, err = parseSize(size); err == nil && p.Size <= 0 {
		err = fmt.Errorf("%q is no size of a partition", size)
	}
	if err != nil {
		return p, fmt.Errorf("--size: %w", err)
	}
	if known, err := arch.Named(machine); err == nil {
		p.Type, _ = uuid.Parse(known.Partitions[name]) // zero where the architecture has no type for it
	}
	return p, nil
}

// addPair writes the table with the pair. One that is there already, and large enough, stays what it is.
func addPair(w *terminal.Printer, path string, pair partition.Pair, labels partition.Labels) error {
	specs := pair.Specs(labels, "")
	return changeTable(w, path, func(l partition.Layout, size int64) (partition.Layout, error) {
		after, err := partition.Plan(&l, size, l.SectorSize, specs)
		if err != nil {
			return after, fmt.Errorf("%w (two halves of %d bytes have to be free; \"installer disk show\" says what is there)",
				err, pair.Size)
		}
		return after, nil
	})
}

// sayChanges says which partitions are new, or have another size.
func sayChanges(w *terminal.Printer, before, after partition.Layout) (said bool) {
	for _, p := range after.Partitions {
		at := slices.IndexFunc(before.Partitions, func(was partition.Partition) bool { return was.Number == p.Number })
		switch {
		case at < 0:
			w.Printf("%v is new and has %d bytes\n", p, after.Bytes(p))
		case before.Partitions[at].Sectors != p.Sectors:
			w.Printf("%v has %d bytes, it had %d\n", p, after.Bytes(p), before.Bytes(before.Partitions[at]))
		default:
			continue
		}
		said = true
	}
	return said
}
