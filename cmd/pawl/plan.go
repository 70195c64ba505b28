package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) planCommand() *cobra.Command {
	r := &pawlv1.PlanRequest{}
	cmd := &cobra.Command{Use: "plan --image REF", Short: "What an upgrade would do, or why it would be refused; changes nothing"}
	cmd.Flags().StringVar(&r.Image, "image", "", "installer image, such as registry.example.com/os:1.2")
	cmd.Flags().BoolVar(&r.Preserve, "preserve", false, "keep the partition EPHEMERAL")
	cmd.Flags().BoolVar(&r.Force, "force", false, "also an image that runs already, that failed before, that looks unfit to boot, or that the version policy refuses")
	trialFlag(cmd, &r.Trial)
	return c.verb(cmd, time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		if r.Image == "" {
			return usage{errors.New("plan: which --image?")}
		}
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			p, err := node.Plan(ctx, r)
			return func() {
				c.object(node, "plan", p)
				if !c.json() {
					printPlan(c.out, node.Node, p)
				}
			}, err
		})
	})
}

func printPlan(w *terminal.Printer, node string, p *pawlv1.Plan) {
	w.Printf("%s: %s\n", node, planned(p))
	w.Printf("  image %s\n", p.Image)
	if p.Bytes > 0 {
		w.Printf("  writes %s of the %s that slot %s can hold\n", size(p.Bytes), size(p.Room), p.To)
	}
	if p.Lost != "" {
		w.Printf("  %s, which slot %s holds, is gone once the upgrade begins\n", p.Lost, p.To)
	}
	if p.Preserve {
		w.Printf("  EPHEMERAL is kept\n")
	} else {
		fmt.Fprintln(w, "  EPHEMERAL is wiped by the trial (--preserve keeps it)")
	}
	w.Printf("  steps: %s\n", strings.Join(p.Steps, ", "))
	for _, text := range p.Warnings {
		w.Printf("  warning: %s\n", text)
	}
}

// planned is a plan in one line.
func planned(p *pawlv1.Plan) string {
	to := p.Version
	if to == "" {
		to = digest(p.Image)
	}
	return fmt.Sprintf("%s from %s (slot %s) to %s (slot %s)", p.Kind, p.OldVersion, p.From, to, p.To)
}
