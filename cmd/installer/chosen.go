package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/disks"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/unfinished"
)

// chosen are the flags that name a disk, or describe it.
type chosen struct {
	disk, size, model, serial, bus string
	medium                         string // the disk that this runs from, which is none; "": what this machine booted from

	list func() ([]disks.Disk, error) // nil: those of this machine
}

// all are the disks to choose from.
func (t *chosen) all() ([]disks.Disk, error) {
	if t.list != nil {
		return t.list()
	}
	return disks.List()
}

func (t *chosen) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.disk, "disk", "", "block device, or existing file, to install onto")
	f.StringVar(&t.size, "disk-size", "",
		"the one disk of this machine that is so large: '>=100GiB', '<=2TiB', a range such as 100GiB..2TiB, or a size")
	f.StringVar(&t.model, "disk-model", "", "the one whose model is like this: 'Samsung*'")
	f.StringVar(&t.serial, "disk-serial", "", "the one whose serial number is like this")
	f.StringVar(&t.bus, "disk-bus", "", "the one that is attached by this: "+strings.Join(disks.Buses(), ", "))
}

// described reports whether a disk is described rather than named.
func (t *chosen) described() bool { return t.size+t.model+t.serial+t.bus != "" }

// said reports whether anything is said of the disk.
func (t *chosen) said() bool { return t.disk != "" || t.described() }

// path is the disk that is meant.
func (t *chosen) path() (string, error) {
	if t.disk != "" {
		if t.described() {
			return "", usageError{errors.New("--disk names the disk: leave out what describes another (--disk-size, " +
				"--disk-model, --disk-serial, --disk-bus)")}
		}
		return t.disk, exists(t.disk)
	}
	want, err := t.want()
	if err != nil {
		return "", usageError{err}
	}
	all, err := t.all()
	if err != nil {
		return "", err
	}
	d, err := want.Choose(all)
	return d.Path, err
}

// want is what is said of the disk.
func (t *chosen) want() (w disks.Want, err error) {
	w = disks.Want{Model: t.model, Serial: t.serial, Bus: t.bus}
	if w.Least, w.Most, err = parseRange(t.size); err != nil {
		return w, fmt.Errorf("--disk-size: %w", err)
	}
	if t.bus != "" {
		if err := commandline.Word("disk-bus", t.bus, disks.Buses()...); err != nil {
			return w, err
		}
	}
	w.Not, w.NotBecause = []string{t.medium}, "this runs from it"
	if t.medium == "" {
		if own, err := upgrade.Disk(efivar.Open(efivar.Dir)); err == nil {
			w.Not, w.NotBecause = []string{own}, "this machine booted from it"
		}
	}
	return w, w.Check()
}

// parseRange reads what is said of a size: >=SIZE, <=SIZE, SIZE..SIZE or SIZE. Zero is no bound.
func parseRange(text string) (least, most int64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	if rest, ok := strings.CutPrefix(text, ">="); ok {
		least, err = parseSize(strings.TrimSpace(rest))
		return least, 0, err
	}
	if rest, ok := strings.CutPrefix(text, "<="); ok {
		most, err = parseSize(strings.TrimSpace(rest))
		return 0, most, err
	}
	low, high, ok := strings.Cut(text, "..")
	if !ok {
		high = low
	}
	if least, err = parseSize(low); err != nil {
		return 0, 0, err
	}
	most, err = parseSize(high)
	return least, most, err
}

// listCommand lists the disks of this machine.
func listCommand() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the disks of this machine, and what is on each", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := disks.List()
			if err != nil {
				return err
			}
			listDisks(out(c), all)
			return nil
		}}
}

// listDisks says of each disk what it is, and what is on it.
func listDisks(w *terminal.Printer, all []disks.Disk) {
	for _, d := range all {
		w.Printf("%s\n", d)
		if d.Not != "" {
			w.Printf("  not to install on: %s\n", d.Not)
		}
		for _, text := range holdsOf(d.Path) {
			w.Printf("  %s\n", text)
		}
	}
	if len(all) == 0 {
		w.Printf("this machine has no disk that a driver has found\n")
	}
}

// holdsOf are lines of what is on a disk.
func holdsOf(path string) []string {
	d, err := partition.Open(path, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return []string{err.Error()}
	}
	defer d.Close()
	var lines []string
	if why := unfinished.Of(d, nil); why != "" {
		lines = append(lines, why)
	}
	for _, c := range partition.Contents(d) {
		lines = append(lines, c.String())
	}
	if len(lines) == 0 {
		lines = []string{"nothing that is known"}
	}
	return lines
}
