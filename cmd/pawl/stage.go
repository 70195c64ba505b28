package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
)

func (c *cli) stageCommand() *cobra.Command {
	stage := &cobra.Command{
		Use: "stage", Short: "What `pawl upgrade --stage` left for the next restart",
		RunE: func(*cobra.Command, []string) error {
			return usage{errors.New("stage: want `pawl stage cancel`; `pawl upgrade --stage` makes one, `pawl " +
				"status` shows it")}
		},
	}
	cancel := &cobra.Command{Use: "cancel", Short: "Give up the staged upgrade; the nodes stay in their version"}
	stage.AddCommand(c.verb(cancel, 15*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			a, err := node.CancelStage(ctx)
			if err != nil {
				return err
			}
			c.object(node, "attempt", a)
			c.line(node, "%s", outcome(a))
			return nil
		})
	}))
	return stage
}
