package main

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// orderAndWait orders an upgrade, or takes up the one that the same command began before it was interrupted, and waits
// until it has ended. A node that does not answer may be restarting for that very upgrade, so it is waited for.
func (c *cli) orderAndWait(ctx context.Context, node *client.Client, r *pawlv1.UpgradeRequest) error {
	for restarted, busy := false, false; ; {
		st, waited, err := c.reach(ctx, node)
		if err != nil {
			return err
		}
		restarted = restarted || waited
		if restarted && !r.Force && fellBackNow(st, r.Image) {
			return &client.Error{Node: node.Node, Kind: client.FellBack, Text: outcome(st.Attempt)}
		}
		if e := c.underway(node, st, r.Image); e != nil {
			c.line(node, "restarting")
			return c.await(ctx, node, e)
		}
		armed, err := c.order(ctx, node, r)
		if client.ErrorKind(err) == client.Unreachable && armed == nil {
			restarted = true
			continue // it went down before it took the order, or sent a plan
		}
		if client.ErrorKind(err) == "busy" && armed == nil && !busy {
			busy = true // perhaps with the restart for this very upgrade, which began a moment ago
			continue
		}
		return c.finish(ctx, node, armed, err, true)
	}
}

// reach waits until the node answers, and says whether it had to.
func (c *cli) reach(ctx context.Context, node *client.Client) (st *pawlv1.StatusResponse, waited bool, err error) {
	st, err = node.AwaitAnswer(ctx, func(why error) {
		waited = true
		if client.ErrorKind(why) == client.Starting {
			c.line(node, "is starting; waiting for it")
		} else {
			c.line(node, "does not answer; waiting for it, since it may be restarting")
		}
		c.object(node, "wait", map[string]string{"text": why.Error()})
	})
	if waited && client.ErrorKind(err) == client.Unreachable {
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
	c.line(node, "already underway: %s", outcome(a))
	return e
}

// already ends an order that the node refused because it runs the image (why). Nothing is left to do, unless its next
// restart goes elsewhere. What its upgrade disturbed is waited for, if asked.
func (c *cli) already(ctx context.Context, node *client.Client, why error, wait bool) error {
	st, err := node.Status(ctx)
	if err != nil {
		return err
	}
	if st.Armed != "" && st.Armed != st.Active || st.Attempt.GetPhase() == "staged" {
		return fmt.Errorf("%w (but the next boot is to be another version: `pawl rollback` takes that back)", why)
	}
	c.line(node, "already: %s runs in slot %s, confirmed", cmp.Or(st.Version, "it"), st.Active)
	c.object(node, "already", st)
	if !wait || len(st.Undoing) == 0 {
		return nil
	}
	e := &pawlv1.Expected{Version: st.Version, Slot: st.Active, Trial: true}
	for _, slot := range st.Slots {
		if slot.Name == st.Active {
			e.Image = slot.Image
		}
	}
	return c.await(ctx, node, e)
}

// otherNames finds the nodes that were named before, under another name: by what each says of the service that runs
// there. A node that does not answer, or does not say it, counts as one of its own.
func (c *cli) otherNames(ctx context.Context, nodes []*client.Client) map[*client.Client]*client.Client {
	ctx, cancel := context.WithTimeout(ctx, min(c.timeout, nameTime))
	defer cancel()
	services := make([]string, len(nodes))
	var wait sync.WaitGroup
	for i, node := range nodes {
		wait.Go(func() {
			if v, err := node.Version(ctx); err == nil { // what is wrong with it is told in its turn
				services[i] = v.Service
			}
		})
	}
	wait.Wait()
	first, same := map[string]*client.Client{}, map[*client.Client]*client.Client{}
	for i, node := range nodes {
		if before := first[services[i]]; before != nil && services[i] != "" {
			same[node] = before
		} else {
			first[services[i]] = node
		}
	}
	return same
}

// nameTime bounds how long is waited for the nodes to say who they are.
const nameTime = 5 * time.Second
