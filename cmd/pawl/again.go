package main

import (
	"context"
	"fmt"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// orderAndWait orders an upgrade, or takes up the one that the same command began before it was interrupted, and waits until it
// has ended. A node that does not answer may be restarting for that very upgrade, so it is waited for.
func (c *cli) orderAndWait(ctx context.Context, node *client.Client, r *pawlv1.UpgradeRequest, debug bool) error {
	for restarted := false; ; restarted = true {
		st, waited, err := c.reach(ctx, node)
		if err != nil {
			return err
		}
		restarted = restarted || waited
		if restarted && !r.Force && fellBackNow(st, r.Image) {
			return &client.Error{Node: node.Node, Kind: client.FellBack, Text: attempt(st.Attempt)}
		}
		if e := c.underway(node, st, r.Image); e != nil {
			return c.await(ctx, node, e)
		}
		armed, err := c.order(ctx, node, r, debug)
		switch kind := client.Kind(err); {
		case kind == client.Unreachable && armed == nil:
			continue // it went down before it took the order, or told of a plan
		case kind == "same" && c.arrived(ctx, node, r.Image):
			return nil
		}
		return c.finish(ctx, node, armed, err, true)
	}
}

// reach waits until the node answers, and says whether it had to.
func (c *cli) reach(ctx context.Context, node *client.Client) (st *pawlv1.StatusResponse, waited bool, err error) {
	st, err = node.Reach(ctx, func(why error) {
		waited = true
		if client.Kind(why) == client.Starting {
			c.line(node, "is starting; waiting for it")
		} else {
			c.line(node, "does not answer; waiting for it, since it may be restarting")
		}
		c.object(node, "wait", map[string]string{"text": why.Error()})
	})
	if waited && client.Kind(err) == client.Unreachable {
		err = fmt.Errorf("%w (waited for %s, as --timeout says)", err, c.timeout)
	}
	return st, waited, err
}

// fellBackNow reports whether the node fell back from the image in the restart that was just waited for.
func fellBackNow(st *pawlv1.StatusResponse, image string) bool {
	a := st.GetAttempt()
	return a.GetReference() == image && a.GetResult() == "fell back" && a.BootEnded == st.BootId
}

// underway finds the upgrade that the same command began before it was interrupted, once the node restarts or has
// restarted for it: what is left is to wait. Earlier than that the node itself lets the command join.
func (c *cli) underway(node *client.Client, st *pawlv1.StatusResponse, image string) *pawlv1.Expected {
	a := st.GetAttempt()
	if a == nil || a.Result != "" || a.Reference != image {
		return nil
	}
	e := &pawlv1.Expected{Version: a.Version, Image: a.Image, Slot: a.To, Trial: true, Attempt: a.Id}
	switch {
	case st.Trial && st.Active == a.To:
	case st.Operation.GetRunning() && st.Operation.Name == "reboot":
		e.BootId = st.BootId
	default:
		return nil
	}
	c.line(node, "already underway: %s", attempt(a))
	return e
}

// arrived reports whether the node runs the image because an upgrade to it was confirmed.
func (c *cli) arrived(ctx context.Context, node *client.Client, image string) bool {
	st, err := node.Status(ctx)
	if err != nil || st.Trial || st.Attempt == nil || st.Attempt.Reference != image || st.Attempt.Result != "confirmed" || st.Attempt.To != st.Active {
		return false
	}
	c.line(node, "there already: %s", attempt(st.Attempt))
	c.object(node, "status", st)
	return true
}
