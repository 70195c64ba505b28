package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// forever is the timeout of what is followed until it is interrupted.
const forever = 100 * 365 * 24 * time.Hour

func (c *cli) eventsCommand() *cobra.Command {
	var r recent
	cmd := &cobra.Command{
		Use: "events", Short: "What the nodes told in this boot: operations, steps, hooks, checks, and how they ended",
		Long: `Events prints what each node told since it started. With --follow it goes on, over restarts of the node, until it is
interrupted or --timeout is over.`,
	}
	r.followFlags(cmd, "events")
	cmd.Flags().StringVar(&r.since, "since", "", "show only what was told since then: how long ago, such as 10m, or a time, such as\n"+
		"2026-11-30T08:00:00Z; the times are those of the node's clock")
	return c.verb(cmd, forever, func(ctx context.Context, nodes []*client.Client) error {
		if err := r.check(cmd, time.Now()); err != nil {
			return err
		}
		counts := func(e *pawlv1.Event) bool {
			return (r.since == "" || !e.Time.AsTime().Before(r.after)) && (c.structured() || told(e) != "")
		}
		return c.watch(ctx, nodes, r.follow, func(ctx context.Context, node *client.Client) error {
			asked := &pawlv1.EventsRequest{}
			return latest(ctx, r, counts, func(ctx context.Context, follow bool, each func(*pawlv1.Event) error) error {
				asked.Follow = follow
				return node.Events(ctx, asked, each)
			}, func(e *pawlv1.Event) error {
				if counts(e) {
					c.object(node, "event", e)
					c.line(node, "%s %s: %s", e.Time.AsTime().Format(time.RFC3339), e.Operation, told(e))
				}
				return c.out.Err() // with nobody to tell it is over
			})
		})
	})
}

func (c *cli) dmesgCommand() *cobra.Command {
	var r recent
	cmd := &cobra.Command{
		Use: "dmesg", Short: "The kernel's log of the nodes",
		Long: `Dmesg prints the kernel's log of each node. With --follow it goes on, over restarts of the node, until it is interrupted
or --timeout is over.`,
	}
	r.followFlags(cmd, "messages")
	return c.verb(cmd, forever, func(ctx context.Context, nodes []*client.Client) error {
		if err := r.check(cmd, time.Now()); err != nil {
			return err
		}
		all := func(*pawlv1.KernelMessage) bool { return true }
		return c.watch(ctx, nodes, r.follow, func(ctx context.Context, node *client.Client) error {
			asked := &pawlv1.DmesgRequest{}
			return latest(ctx, r, all, func(ctx context.Context, follow bool, each func(*pawlv1.KernelMessage) error) error {
				asked.Follow = follow
				return node.Dmesg(ctx, asked, each)
			}, func(m *pawlv1.KernelMessage) error {
				c.kernel(node, m)
				return c.out.Err()
			})
		})
	})
}

// watch watches all nodes at once. Being interrupted is how it is meant to end; when it follows, --timeout is too.
func (c *cli) watch(ctx context.Context, nodes []*client.Client, follow bool,
	do func(context.Context, *client.Client) error) error {
	return c.each(ctx, nodes, func(limited context.Context, node *client.Client) (func(), error) {
		err := do(limited, node)
		if end := limited.Err(); end != nil && errors.Is(err, end) && (follow || ctx.Err() != nil) {
			err = nil
		}
		return func() {}, err
	})
}

func (c *cli) kernel(node *client.Client, m *pawlv1.KernelMessage) {
	c.object(node, "kernel", m)
	c.line(node, "[%12.6f] %s", m.SinceBoot.AsDuration().Seconds(), m.Text)
}

// debug prints what the node's kernel says from now on, until the function that it returns is called, and all that it
// has said by then.
func (c *cli) debug(ctx context.Context, node *client.Client) (stop func()) {
	r := &pawlv1.DmesgRequest{}
	_ = node.Dmesg(ctx, r, func(*pawlv1.KernelMessage) error { return nil }) // r then says where the log ends
	r.Follow = true
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		err := node.Dmesg(ctx, r, func(m *pawlv1.KernelMessage) error {
			c.kernel(node, m)
			return nil
		})
		if ctx.Err() == nil {
			c.line(node, "the kernel's log cannot be shown: %v", err)
		}
	})
	return func() {
		cancel()
		running.Wait()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTime)
		defer cancel()
		r.Follow = false // what it has said since: the node may have come back a moment ago
		_ = node.Dmesg(last, r, func(m *pawlv1.KernelMessage) error {
			c.kernel(node, m)
			return nil
		})
	}
}

// logTime bounds how long the end of a node's log may take.
const logTime = 10 * time.Second

// told is an event in one line; empty for what says too little for a line of its own.
func told(e *pawlv1.Event) string {
	switch {
	case e.GetPlan() != nil:
		return planned(e.GetPlan())
	case e.GetArmed().GetAttempt() != nil:
		return outcome(e.GetArmed().Attempt)
	case e.GetNotice() != nil:
		return e.GetNotice().Text
	case e.GetCall() != nil:
		return call(e.GetCall())
	case e.GetTask().GetDone():
		return task(e.GetTask())
	case e.GetSequence() != nil && !e.GetSequence().Done:
		return "begins"
	case e.GetSequence().GetError() != "":
		return "failed: " + e.GetSequence().Error
	case e.GetSequence() != nil:
		return "done"
	}
	switch p := e.GetProgress(); {
	case p.GetError() != "":
		return fmt.Sprintf("%s failed: %s", p.Step, p.Error)
	case p.GetDone():
		return p.Step
	}
	return ""
}

// call is a call of the API in one line: who called what, and what came of it.
func call(c *pawlv1.Call) string {
	what := fmt.Sprintf("%s by %s from %s", c.Method, cmp.Or(c.Caller, "somebody unknown"), c.From)
	if c.Role != "" {
		what += " as " + c.Role
	}
	if c.Request != "" && c.Request != "{}" {
		what += ", " + c.Request
	}
	switch {
	case !c.Done:
		what += ": let through"
	case c.Denied:
		what += ": refused: " + c.Error
	case c.Error != "":
		what += ": failed: " + c.Error
	default:
		what += ": done"
	}
	if c.Untold > 0 {
		what += fmt.Sprintf(" (%d refused calls before it are not reported)", c.Untold)
	}
	return what
}

// task is a hook or a check that is over, in one line.
func task(t *pawlv1.Task) string {
	if t.Error != "" {
		return fmt.Sprintf("%s: %s failed: %s", t.Phase, t.Name, t.Error)
	}
	return fmt.Sprintf("%s: %s", t.Phase, t.Name)
}
