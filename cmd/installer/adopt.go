package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/upgrade/adopt"
)

// adoptCommand says what of another system's disk could be kept.
func adoptCommand() *cobra.Command {
	var path string
	var plan bool
	var named labels
	c := &cobra.Command{
		Use:   "adopt --plan --disk DISK",
		Short: "Say what of a disk that another system laid out could be kept; write nothing",
		Long: "Say what of a disk that Talos, Kairos or `bootctl` laid out could be kept, what not and why. Nothing is " +
			"written:\nadopt moves no disk yet. Exit code 5 says that the disk cannot be taken over as it is.",
		Args: none,
	}
	c.Flags().StringVar(&path, "disk", "", "block device, or file that holds a disk image, to look at")
	c.Flags().BoolVar(&plan, "plan", false, "say it, and write nothing; there is nothing else to do yet")
	named.flag(c)
	_ = c.MarkFlagRequired("disk")
	_ = c.MarkFlagRequired("plan")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if !plan {
			return usageError{errors.New("--plan=false: adopt moves no disk yet")}
		}
		roles, err := named.parse()
		if err != nil {
			return err
		}
		if err := exists(path); err != nil {
			return err
		}
		d, err := lookAt(path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		p, err := adopt.Look(d, roles)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		printAdoption(out(c), path, d.SectorSize(), p)
		if len(p.Not) > 0 {
			return fmt.Errorf("%s cannot be taken over as it is, see what it says: %w", path, partition.ErrForeign)
		}
		return nil
	}
	return c
}

func printAdoption(w *terminal.Printer, path string, sector int, p adopt.Plan) {
	w.Printf("%s: laid out by %s\n", path, p.System)
	var rows [][]string
	for _, part := range p.Parts {
		keep := "kept"
		if !part.Keep {
			keep = "not kept"
		}
		rows = append(rows, []string{strconv.Itoa(part.Number), part.Label, bytesize.Text(part.Sectors * int64(sector)), keep,
			part.Text})
	}
	w.Rows("  ", rows)
	if p.Room > 0 {
		w.Printf("room: a slot can hold %s\n", bytesize.Text(p.Room))
	}
	for _, text := range p.Needs {
		w.Printf("changes: %s\n", text)
	}
	for _, text := range p.Not {
		w.Printf("in the way: %s\n", text)
	}
	if len(p.Not) > 0 {
		w.Printf("instead: save what is to stay, then `installer install --force` makes the disk anew\n")
	}
}
