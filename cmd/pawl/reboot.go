package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) rebootCommand() *cobra.Command {
	r := &pawlv1.RebootRequest{}
	var wait bool
	cmd := &cobra.Command{Use: "reboot", Short: "Restart nodes, one after the other"}
	cmd.Flags().BoolVar(&r.Force, "force", false, "also while an operation runs, which is then lost")
	modeFlag(cmd, &r.RebootMode)
	cmd.Flags().BoolVar(&wait, "wait", false, "until the node is back as expected")
	return c.verb(cmd, 30*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			e, err := node.Reboot(ctx, r)
			if err != nil {
				return err
			}
			c.object(node, "reboot", e)
			if !wait {
				c.line(node, "restarting")
				return nil
			}
			c.line(node, "restarting")
			return c.await(ctx, node, e)
		})
	})
}
