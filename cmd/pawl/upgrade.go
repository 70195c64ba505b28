package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) upgradeCommand() *cobra.Command {
	r := &pawlv1.UpgradeRequest{Client: buildinfo.Version()}
	var wait, debug bool
	var parallel int
	cmd := &cobra.Command{
		Use: "upgrade --image REF", Short: "Move nodes to another version, one after the other",
		Long: `Upgrade writes the image into the slot that a node does not use, reads it back, arms it for its trial and restarts the
node. Until then the node serves as before; its hooks (cordon, drain, stop, ...) run once nothing else can fail. A version
that does not prove itself is left again by itself.

With --stage the image is written and read back now, and the next restart of the node, whenever it comes, goes into the
trial. ` + "`pawl stage cancel`" + ` takes that back.

Nodes are taken one after the other, or with --parallel so many at once, each until it is back, confirmed, and has nothing
left to undo. Once one fails no other is begun, and those that are underway are followed to their end. A node that runs
the image already is done ("already"), and so is one that was reached under another name before. An upgrade goes on when
this command is interrupted, unless --attached was given; the same command again follows it. With --wait the command
ends when the node is back, in the new version, confirmed (exit code 0), or has fallen back (3). A node that does not
answer may be restarting: with --wait it is waited for.`,
	}
	cmd.Flags().StringVar(&r.Image, "image", "", "installer image, such as registry.example.com/os:1.2")
	cmd.Flags().BoolVar(&r.Preserve, "preserve", false, "keep the partition EPHEMERAL; else the trial wipes it")
	cmd.Flags().BoolVar(&r.Force, "force", false,
		"also an image that runs already, failed before, looks unfit to boot, or that the version policy refuses")
	cmd.Flags().Uint32Var(&r.Tries, "tries", 1,
		"boots that the new version gets to prove itself, 1 to 9; a check that fails ends them early")
	trialFlag(cmd, &r.Trial)
	cmd.Flags().BoolVar(&r.Stage, "stage", false, "prepare now; the next restart goes into the trial")
	cmd.Flags().BoolVar(&r.Reboot, "reboot", true, "restart the node; with --stage the default is not to")
	modeFlag(cmd, &r.RebootMode)
	cmd.Flags().BoolVar(&r.Attached, "attached", false, "cancel the upgrade when this command is interrupted")
	cmd.Flags().BoolVar(&wait, "wait", false, "until the node is back and confirmed, or has fallen back")
	cmd.Flags().IntVar(&parallel, "parallel", 1,
		"how many nodes to take at once; more than one are waited for, as with --wait")
	cmd.Flags().BoolVar(&debug, "debug", false,
		"with --wait: show what the node's kernel says meanwhile, in this boot and the next")
	return c.verb(cmd, 30*time.Minute, func(ctx context.Context, nodes []*client.Client) error {
		if r.Stage && !cmd.Flags().Changed("reboot") {
			r.Reboot = false
		}
		if parallel > 1 && r.Reboot && !cmd.Flags().Changed("wait") {
			wait = true
		}
		switch {
		case r.Image == "":
			return usage{errors.New("upgrade: which --image?")}
		case parallel < 1:
			return usage{fmt.Errorf("upgrade: --parallel %d: want 1 or more", parallel)}
		case parallel > 1 && r.Reboot && !wait:
			return usage{errors.New("upgrade: --parallel without --wait would have all nodes restart at once")}
		case wait && !r.Reboot && r.Stage:
			return usage{errors.New("upgrade: --wait needs a restart; give --reboot with --stage")}
		case wait && !r.Reboot:
			return usage{errors.New("upgrade: --wait needs the restart that --reboot=false leaves out")}
		case debug && !wait:
			return usage{errors.New("upgrade: --debug needs --wait")}
		}
		return c.fleet(ctx, nodes, parallel, func(ctx context.Context, node *client.Client) error {
			if debug {
				defer c.debug(ctx, node)()
			}
			if !wait {
				armed, err := c.order(ctx, node, r)
				return c.finish(ctx, node, armed, err, false)
			}
			return c.orderAndWait(ctx, node, r)
		})
	})
}

// order asks for the upgrade and shows how it goes on until it is armed.
func (c *cli) order(ctx context.Context, node *client.Client, r *pawlv1.UpgradeRequest) (*pawlv1.Armed, error) {
	return c.ordered(node, r.Attached, func(tell func(*pawlv1.Event)) (*pawlv1.Armed, error) {
		return node.Upgrade(ctx, r, tell)
	})
}

// ordered gives an order and prints what the node tells of it. From the first word on, an order that is not attached
// goes on when the command is interrupted.
func (c *cli) ordered(node *client.Client, attached bool, order func(tell func(*pawlv1.Event)) (*pawlv1.Armed,
	error)) (*pawlv1.Armed, error) {
	accepted := false
	armed, err := order(func(e *pawlv1.Event) {
		accepted = true
		c.event(node, e)
	})
	if accepted && !attached {
		err = interrupted(err)
	}
	return armed, err
}

func trialFlag(cmd *cobra.Command, trial *string) {
	cmd.Flags().StringVar(trial, "trial", "",
		"how systemd-boot tries it: one-shot (default); boot-next: the firmware starts the UKI by "+
			"itself;\ncounting: without firmware variables, see the plan's warnings")
}

func modeFlag(cmd *cobra.Command, mode *string) {
	cmd.Flags().StringVar(mode, "reboot-mode", "auto",
		"auto: kexec into a version that has proved itself, the firmware for a trial;\nkexec: a trial too; "+
			"powercycle: always the firmware")
}

// event prints what an operation tells.
func (c *cli) event(node *client.Client, e *pawlv1.Event) {
	c.object(node, "event", e)
	if c.structured() {
		return
	}
	if p := e.GetProgress(); p != nil {
		c.board.progress(node.Node, p)
		return
	}
	if t := e.GetTask(); t.GetDone() {
		c.line(node, "%s", task(t))
	}
	if n := e.GetNotice(); n != nil {
		c.line(node, "%s", n.Text)
	}
	if p := e.GetPlan(); p != nil {
		c.line(node, "%s, image %s", planned(p), show.Short(p.Image))
		if p.Lost != "" {
			c.line(node, "%s, which slot %s holds, is gone from now on", p.Lost, p.To)
		}
		for _, text := range p.Warnings {
			c.line(node, "warning: %s", text)
		}
	}
}

// finish says how an operation ended, and waits for the node if asked.
func (c *cli) finish(ctx context.Context, node *client.Client, armed *pawlv1.Armed, err error, wait bool) error {
	switch {
	case client.ErrorKind(err) == "same":
		return c.already(ctx, node, err, wait)
	case err != nil && armed != nil && wait && armed.Rebooting:
		c.line(node, "%s", strings.TrimPrefix(err.Error(), node.Node+": "))
	case err != nil:
		return err
	case armed.Attempt.GetPhase() == "staged":
		c.line(node, "staged: the next restart goes into the trial of %s in slot %s", armed.Expected.Version,
			armed.Expected.Slot)
	case armed.Expected.Trial:
		c.line(node, "armed: the next boot is the trial of %s in slot %s", armed.Expected.Version, armed.Expected.Slot)
	default:
		c.line(node, "the next boot is %s in slot %s", armed.Expected.Version, armed.Expected.Slot)
	}
	switch {
	case !armed.Rebooting:
		return nil
	case !wait:
		c.line(node, "restarting; `pawl status` tells how it ended")
		return nil
	}
	c.line(node, "restarting")
	return c.await(ctx, node, armed.Expected)
}

// await waits for the node to be as expected, for good.
func (c *cli) await(ctx context.Context, node *client.Client, e *pawlv1.Expected) error {
	st, err := node.Wait(ctx, e, func(s client.Change) {
		c.line(node, "%s", s.Text)
		if s.Status == nil {
			c.object(node, "wait", map[string]string{"text": s.Text})
		} else {
			c.object(node, "wait", map[string]string{"text": s.Text, "bootId": s.Status.BootId,
				"version": s.Status.Version, "active": s.Status.Active})
		}
	})
	if err != nil {
		return interrupted(err)
	}
	c.object(node, "status", st)
	return nil
}
