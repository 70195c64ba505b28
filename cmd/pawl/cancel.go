package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
)

func (c *cli) cancelCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cancel",
		Short: "End what the nodes are doing, before it is armed; what it did is undone"}
	return c.verb(cmd, 5*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			v, err := node.Cancel(ctx)
			if err != nil {
				return err
			}
			c.object(node, "cancelled", v)
			c.line(node, "%s is cancelled", v.Operation)
			return nil
		})
	})
}
