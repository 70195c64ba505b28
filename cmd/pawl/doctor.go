package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) doctorCommand() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use: "doctor [--repair]", Short: "What the nodes will boot next and why, what is redundant, what is broken",
		Long: "What the nodes will boot next and why, what is redundant, and what is broken. Nothing is changed, " +
			"but with --repair: that\n" +
			"first removes variables of the firmware that name a slot in place of the loader's own default, and Pawl's " +
			"boot entries that start\n" +
			"nothing. Every file of both slots is read. What is degraded does not stop a node from booting; what is " +
			"broken does,\n" +
			"and the exit code is 6.",
	}
	cmd.Flags().BoolVar(&repair, "repair", false,
		"first remove what an upgrade would remove from the firmware's variables; what boots by itself stays")
	return c.verb(cmd, 2*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		c.warnOwn()
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			if repair {
				if err := node.Repair(ctx); err != nil {
					return func() {}, err
				}
			}
			d, err := node.Doctor(ctx)
			if err == nil && d.Severity == "broken" {
				err = &client.Error{Node: node.Node, Kind: client.Broken, Text: "something is broken"}
			}
			return func() {
				c.object(node, "doctor", d)
				if !c.structured() {
					printDiagnosis(c.out, node.Node, d)
				}
			}, err
		})
	})
}

// remedies are the commands for what the node's doctor says to do. Most are the installer's, on the node itself.
var remedies = map[string]string{
	"repair table":   "on the node: `installer disk repair`",
	"reset META":     "on the node: `installer meta reset`",
	"repair":         "on the node: `installer doctor --repair`",
	"replace loader": "on the node: `installer loader`",
	"force loader":   "on the node: `installer loader --force`",
	"disarm":         "`pawl rollback`",
	"decide":         "`pawl confirm`, `pawl rollback`",
}

func printDiagnosis(w *terminal.Printer, node string, d *pawlv1.DoctorResponse) {
	r := show.Diagnosis{Assumes: d.Assumes}
	for _, b := range d.Boots {
		r.Boots = append(r.Boots, show.Boot{Slot: b.Slot, Version: b.Version, Path: b.Path, Stuck: b.Stuck,
			Trial: b.Trial, Why: b.Why})
	}
	for _, f := range d.Findings {
		r.Findings = append(r.Findings, show.Finding{Severity: f.Severity, About: f.About, Text: f.Text, Do: f.Do,
			By: remedies[f.Remedy]})
	}
	w.Printf("%s: %s (boot %s)\n", node, d.Severity, d.BootId)
	r.Print(w, "  ")
}
