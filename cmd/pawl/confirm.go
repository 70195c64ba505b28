package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
)

func (c *cli) confirmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "confirm", Short: "Keep what the nodes run, where no attempt ordered it or its trial has not ended",
		Long: `Confirm makes what a node runs its default, by your order. A boot that no attempt ordered (an entry picked in the loader's
menu, a disk or variables of an earlier day) is confirmed by nobody else; ` + "`pawl rollback`" + ` goes back from it. A trial is confirmed
without its checks.`,
	}
	return c.verb(cmd, 30*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			w, err := node.Confirm(ctx)
			if err != nil {
				return err
			}
			c.object(node, "confirmed", w)
			c.line(node, "%s in slot %s is the default", w.Version, w.Slot)
			return nil
		})
	})
}
