package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/internal/bytesize"
	"github.com/pawl-os/pawl/internal/commandline"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/upgrade"
)

// planCommand says what an upgrade would do, and writes nothing.
func planCommand() *cobra.Command {
	var from source
	var on machine
	var o upgrade.Options
	c := &cobra.Command{
		Use:   "plan --image REF [--disk DISK]",
		Short: "Say what an upgrade would do, and write nothing",
		Args:  none,
	}
	from.flags(c)
	on.flags(c)
	choices(c, &o)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkChoices(c, o); err != nil {
			return err
		}
		img, err := from.open(c)
		if err != nil {
			return err
		}
		m, err := on.open(true)
		if err != nil {
			return err
		}
		defer m.Close()
		p, err := m.Plan(c.Context(), img, o)
		if err != nil {
			return err
		}
		printPlan(out(c), p)
		return nil
	}
	return c
}

// choices are the flags of an operator's choices.
func choices(c *cobra.Command, o *upgrade.Options) {
	c.Flags().BoolVar(&o.Preserve, "preserve", false, "keep EPHEMERAL; without it the trial wipes it")
	c.Flags().IntVar(&o.Tries, "tries", 1,
		"trial boots before the machine falls back, 1 to 9; a check that fails ends them early")
	c.Flags().StringVar(&o.Way, "trial", "", "how systemd-boot tries it: "+strings.Join(ways(), ", ")+
		" (default: one-shot)")
	c.Flags().BoolVar(&o.Force, "force", false,
		"also an image that runs already, that failed before, that looks unfit to boot, or that the version policy "+
			"refuses")
}

// checkChoices refuses choices that are none.
func checkChoices(c *cobra.Command, o upgrade.Options) error {
	if err := commandline.Within("tries", o.Tries, 1, sdboot.MaxTries); err != nil {
		return usageError{err}
	}
	return checkTrial(c, o.Way)
}

func checkTrial(c *cobra.Command, way string) error {
	if !c.Flags().Changed("trial") {
		return nil
	}
	if err := commandline.Word("trial", way, ways()...); err != nil {
		return usageError{err}
	}
	return nil
}

// ways are the ways of trying a version.
func ways() []string {
	var names []string
	for _, w := range sdboot.Ways() {
		names = append(names, string(w))
	}
	return names
}

func printPlan(w *terminal.Printer, p upgrade.Plan) {
	r := show.Plan{
		Kind: string(p.Kind), From: string(p.From), To: string(p.To), Old: p.Old, Version: p.Version, Image: p.Image,
		Reference: p.Reference,
		Bytes:     p.Bytes, Room: p.Room, Lost: p.Lost, Preserve: p.Preserve, Warnings: p.Warnings,
	}
	again := "the same command goes on where it ended"
	if p.Fetch > 0 && p.Restarts {
		again = "it starts again from the beginning"
	}
	r.Fetch = append(r.Fetch, fmt.Sprintf("downloads: %s at most; cut off, %s", bytesize.Text(p.Fetch), again))
	if p.Requests > 0 {
		r.Fetch = append(r.Fetch, fmt.Sprintf("by: %d requests for parts of layers, of which the rest is reused", p.Requests))
	}
	if p.Whole != "" {
		r.Fetch = append(r.Fetch, "more than needed: "+p.Whole)
	}
	for _, reused := range p.Reused {
		r.Fetch = append(r.Fetch, "reused: "+reused.String())
	}
	for _, s := range p.Steps {
		r.Steps = append(r.Steps, string(s))
	}
	w.Printf("%s\n", r)
	r.Print(w, "")
}
