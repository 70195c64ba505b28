package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "What the nodes will boot next and why, what is redundant, what is broken",
		Long: "What the nodes will boot next and why, what is redundant, and what is broken. Nothing is changed. Every file of both slots is\n" +
			"read. What is degraded does not stop a node from booting; what is broken does, and the exit code is 6.",
	}
	return c.verb(cmd, 2*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			d, err := node.Doctor(ctx)
			if err == nil && d.Severity == "broken" {
				err = &client.Error{Node: node.Node, Kind: client.Broken, Text: "something is broken"}
			}
			return func() {
				c.object(node, "doctor", d)
				if !c.json() {
					printDiagnosis(c.out, node.Node, d)
				}
			}, err
		})
	})
}

func printDiagnosis(w *terminal.Printer, node string, d *pawlv1.DoctorResponse) {
	w.Printf("%s: %s (boot %s)\n", node, d.Severity, d.BootId)
	var rows [][]string
	row := func(cells ...string) { rows = append(rows, cells) }
	for i, b := range d.Boots {
		row(fmt.Sprintf("boot %d", i+1), predicted(b), strings.Join(b.Why, " "))
	}
	w.Rows("  ", rows) // what follows has columns of its own
	rows = nil
	for _, text := range d.Assumes {
		row("assumed", text)
	}
	for _, severity := range []string{"broken", "degraded", "fine"} {
		for _, f := range d.Findings {
			if f.Severity == severity {
				text := f.Text
				if f.Do != "" {
					text += " Do: " + f.Do + "."
				}
				row(f.Severity, f.About+": "+text)
			}
		}
	}
	w.Rows("  ", rows)
}

// predicted is a predicted boot in a few words.
func predicted(b *pawlv1.PredictedBoot) string {
	switch {
	case b.Stuck != "":
		return "nothing runs, " + b.Stuck
	case b.Slot == "":
		return b.Path
	}
	text := strings.TrimSpace("slot " + b.Slot + " " + b.Version)
	if b.Trial {
		text += ", trial"
	}
	return text
}
