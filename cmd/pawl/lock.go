package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) lockCommand() *cobra.Command {
	lock := &cobra.Command{
		Use: "lock", Short: "Who holds the lock that the nodes of a pool share, and its release by hand",
		Long: `A node that is upgraded holds a slot of its pool until it is back in service. It frees the slot by itself, also
after a crash. What a node holds that never comes back has to be freed by hand, through any node of the pool:

  pawl lock list --nodes 10.0.0.1
  pawl lock release --nodes 10.0.0.1 --slot 0 --version 4711

The version is the listed one: what has changed since is not freed. From step "down" on a slot is freed only with
--machine-is-off, which says how you know that the machine is off and stays off: it may be about to restart, and
cannot be told. Or ask the holder itself: of an attempt that is over, its own word is enough.`,
		RunE: func(*cobra.Command, []string) error {
			return usage{errors.New("lock: want list or release (see `pawl lock --help`)")}
		},
	}
	lock.AddCommand(c.lockList(), c.lockRelease())
	return lock
}

func (c *cli) lockList() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "Who holds the lock, at which step, and since when"}
	return c.verb(list, 30*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			v, err := node.LockList(ctx)
			return func() {
				if c.object(node, "lock", v); c.structured() {
					return
				}
				if len(v.Held) == 0 {
					c.line(node, "pool %s: nobody holds it", v.Pool)
				}
				for _, s := range v.Held {
					c.line(node, "pool %s, slot %d, version %s: %s", v.Pool, s.Index, s.Version, holder(s))
				}
			}, err
		})
	})
}

// holder says who holds a slot.
func holder(s *pawlv1.LockSlot) string {
	text := fmt.Sprintf("node %s (attempt %s), step %s", s.Node, s.Attempt, s.Step)
	if s.Since != nil {
		text += " since " + s.Since.AsTime().Format(time.RFC3339)
	}
	if s.Seen != nil && s.Seen.AsTime().After(s.Since.AsTime()) {
		text += ", last seen " + s.Seen.AsTime().Format(time.RFC3339)
	}
	if s.What != "" {
		text += ": " + s.What
	}
	if s.Address != "" {
		text += "; pawl status --nodes " + s.Address
	}
	return text
}

func (c *cli) lockRelease() *cobra.Command {
	r := &pawlv1.LockReleaseRequest{}
	cmd := &cobra.Command{Use: "release", Short: "Free a slot of the lock, as it was listed",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return usage{fmt.Errorf("lock release takes no argument %q (see `pawl lock release --help`)", args[0])}
			case r.Version == "" || !cmd.Flags().Changed("slot"):
				return usage{errors.New("lock release: want --slot and --version, as `pawl lock list` shows them")}
			}
			return nil
		}}
	cmd.Flags().Uint32Var(&r.Index, "slot", 0, "the slot, as `pawl lock list` shows it")
	cmd.Flags().StringVar(&r.Version, "version", "", "its version, as `pawl lock list` shows it")
	cmd.Flags().StringVar(&r.MachineIsOff, "machine-is-off", "", "how it is known that the holder's machine is off and "+
		"stays off")
	return c.verb(cmd, 30*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		if len(nodes) != 1 {
			return usage{errors.New("lock release: through one node of the pool (--nodes NODE)")}
		}
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			s, err := node.LockRelease(ctx, r)
			if err != nil {
				return err
			}
			c.object(node, "released", s)
			c.line(node, "slot %d is free; it was held by %s", s.Index, holder(s))
			return nil
		})
	})
}
