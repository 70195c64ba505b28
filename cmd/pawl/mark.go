package main

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/internal/show"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

func (c *cli) markCommand() *cobra.Command {
	r := &pawlv1.MarkRequest{}
	cmd := &cobra.Command{
		Use: "mark bad|good IMAGE", Short: "Remember an image as bad, or forget that it is",
		Long: `Mark bad has the nodes refuse an upgrade or a rollback to an image, unless it is forced. Mark good forgets that
an image is bad, by an order like this one or because its trial failed. What boots does not change. IMAGE is a slot that
holds it, A or B, or its digest.

  pawl mark bad B --reason "loses its network after an hour"
  pawl mark good sha256:0123...`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] != "bad" && args[0] != "good" {
				return usage{errors.New("mark: want bad or good, and an image (see `pawl mark --help`)")}
			}
			r.Bad = args[0] == "bad"
			if r.Image = args[1]; !strings.Contains(r.Image, ":") {
				r.Image, r.Slot = "", args[1]
			}
			if r.Reason != "" && !r.Bad {
				return usage{errors.New("--reason says why an image is bad: leave it out")}
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			words := [][]string{{"bad", "good"}, {"A", "B"}, nil}
			return words[min(len(args), 2)], cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why it is bad, for people")
	return c.verb(cmd, 30*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.inTurn(ctx, nodes, func(ctx context.Context, node *client.Client) error {
			v, err := node.Mark(ctx, r)
			if err != nil {
				return err
			}
			c.object(node, "marked", v)
			image := show.Short(v.Bad.Image)
			if v.Bad.Version != "" {
				image = v.Bad.Version + " " + image
			}
			switch {
			case r.Bad:
				c.line(node, "%s is bad: %s", image, v.Bad.Reason)
			case v.Changed:
				c.line(node, "%s is good; it was bad: %s", image, v.Bad.Reason)
			default:
				c.line(node, "already: %s is not known to be bad", image)
			}
			return nil
		})
	})
}

func (c *cli) logsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "logs", Short: "What is kept of the kernel's log of the last failed trial",
		Long: "What is kept of the kernel's log of the last failed trial: how far it came, what its kernel panicked for, and\n" +
			"the end of its log. `pawl dmesg` is the log of the boot that runs.",
	}
	return c.verb(cmd, 15*time.Second, func(ctx context.Context, nodes []*client.Client) error {
		return c.each(ctx, nodes, func(ctx context.Context, node *client.Client) (func(), error) {
			st, err := node.Status(ctx)
			return func() {
				a := st.Attempt
				if c.object(node, "attempt", a); c.structured() {
					return
				}
				if a == nil || a.Result != "fell back" {
					c.line(node, "the latest attempt did not fall back, so no log of it is kept")
					return
				}
				c.line(node, "%s", outcome(a))
				c.line(node, "its trial came as far as: %s", cmp.Or(a.Reached, "not known to have started"))
				if a.Panic != "" {
					c.line(node, "its kernel panicked: %s", a.Panic)
				}
				if a.Log == "" {
					c.line(node, "nothing kept that kernel's log (pstore, in firmware's variables or reserved memory, would)")
				}
				for text := range strings.Lines(a.Log) {
					c.line(node, "  %s", strings.TrimRight(text, "\n"))
				}
			}, err
		})
	})
}
