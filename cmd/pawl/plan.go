package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/internal/terminal"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) planCommand() *cobra.Command {
	r := &pawlv1.PlanRequest{}
	cmd := &cobra.Command{Use: "plan --image REF",
		Short: "What an upgrade would do, or why it would be refused; changes nothing"}
	cmd.Flags().StringVar(&r.Image, "image", "", "installer image, such as registry.example.com/os:1.2")
	cmd.Flags().BoolVar(&r.Preserve, "preserve", false, "keep the partition EPHEMERAL")
	cmd.Flags().BoolVar(&r.Force, "force", false,
		"also an image that runs already, that failed before, that looks unfit to boot, or that the version policy "+
			"refuses")
	trialFlag(cmd, &r.Trial)
	return c.verb(cmd, time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		if r.Image == "" {
			return usage{errors.New("plan: which --image?")}
		}
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			p, err := node.Plan(ctx, r)
			return func() {
				c.object(node, "plan", p)
				if !c.structured() {
					printPlan(c.out, node.Node, p)
				}
			}, err
		})
	})
}

func printPlan(w *terminal.Printer, node string, p *pawlv1.Plan) {
	w.Printf("%s: %s\n", node, planned(p))
	reported(p).Print(w, "  ")
}

func reported(p *pawlv1.Plan) show.Plan {
	return show.Plan{
		Kind: p.Kind, From: p.From, To: p.To, Old: p.OldVersion, Version: p.Version, Image: p.Image,
		Reference: p.Reference,
		Bytes:     p.Bytes, Room: p.Room, Lost: p.Lost, Preserve: p.Preserve, Steps: p.Steps, Warnings: p.Warnings,
	}
}

// planned is a plan in one line.
func planned(p *pawlv1.Plan) string { return reported(p).String() }
