package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) rollbackCommand() *cobra.Command {
	r := &pawlv1.RollbackRequest{}
	var wait bool
	cmd := &cobra.Command{
		Use: "rollback", Short: "Go back to the version in the other slot, one node after the other",
		Long: `Rollback arms what the other slot holds for a trial, as an upgrade would, and restarts the node. On a trial it gives the
trial up: the node restarts into its default. Where an upgrade is armed but not booted yet, it is disarmed, and one that
is staged is given up; nothing restarts. A version that failed its trial, or that never proved itself, is not gone back to
unless forced.`,
	}
	cmd.Flags().BoolVar(&r.Reboot, "reboot", true, "restart the node if the rollback needs it")
	cmd.Flags().BoolVar(&r.Force, "force", false,
		"also to a version that failed its trial, or that never proved itself")
	modeFlag(cmd, &r.RebootMode)
	cmd.Flags().BoolVar(&wait, "wait", false, "until the node is back as expected")
	return c.verb(cmd, 30*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		if wait && !r.Reboot {
			return usage{errors.New("rollback: --wait needs the restart that --reboot=false leaves out")}
		}
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			armed, err := c.ordered(node, false, func(tell func(*pawlv1.Event)) (*pawlv1.Armed, error) {
				return node.Rollback(ctx, r, tell)
			})
			return c.finish(ctx, node, armed, err, wait)
		})
	})
}
