package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/pawl-os/pawl/node"
)

// cordonedBy is the annotation of a Node that was cordoned here: by which attempt.
const cordonedBy = "pawl-os.org/cordoned-by"

// object is what is read of a Node.
type object struct {
	Metadata struct {
		UID             string
		ResourceVersion string
		Annotations     map[string]string
	}
	Spec   struct{ Unschedulable bool }
	Status struct {
		Conditions []struct{ Type, Status, Reason, Message string }
		NodeInfo   struct{ BootID string }
	}
}

func (n *Node) path() string { return "/api/v1/nodes/" + url.PathEscape(n.config.Node) }

func (n *Node) read(ctx context.Context) (o object, err error) {
	return o, n.call(ctx, http.MethodGet, n.path(), plain, nil, &o)
}

// change reads the Node, and changes what the function says of it, as long as nobody else has changed it meanwhile:
// then it is read again. A change of nil is none.
func (n *Node) change(ctx context.Context, what string, decide func(object) (map[string]any, error)) error {
	var decided error
	err := n.until(ctx, what, func() error {
		o, err := n.read(ctx)
		if err != nil {
			return err
		}
		patch, err := decide(o)
		if decided = err; err != nil || patch == nil {
			return nil
		}
		metadata := map[string]any{"resourceVersion": o.Metadata.ResourceVersion}
		if by, ok := patch[cordonedBy]; ok {
			metadata["annotations"] = map[string]any{cordonedBy: by}
			delete(patch, cordonedBy)
		}
		full := map[string]any{"metadata": metadata}
		if len(patch) > 0 {
			full["spec"] = patch
		}
		return n.call(ctx, http.MethodPatch, n.path(), merge, full, nil)
	})
	return errors.Join(err, decided)
}

// Cordon keeps new pods from the Node, and notes for which attempt. One that others have cordoned is node.ErrAlready;
// one that an earlier attempt of this node has, is this attempt's now.
func (n *Node) Cordon(ctx context.Context, attempt string) error {
	changed := false
	err := n.change(ctx, "cordon node "+n.config.Node, func(o object) (map[string]any, error) {
		by, ours := o.Metadata.Annotations[cordonedBy]
		switch {
		case o.Spec.Unschedulable && !ours:
			return nil, node.ErrAlready
		case o.Spec.Unschedulable && by == attempt:
			return nil, nil
		}
		changed = true
		return map[string]any{"unschedulable": true, cordonedBy: attempt}, nil
	})
	if err == nil && changed {
		n.tell(ctx, "PawlCordoned", "Cordoned for an upgrade, attempt "+attempt)
	}
	return err
}

// Restarts tells that the node goes down now, and what for.
func (n *Node) Restarts(ctx context.Context, why string) { n.tell(ctx, "PawlRestarting", why) }

// Uncordon lets pods come again, if Cordon has kept them away, and tells what became of the attempt. A Node that is
// gone, or that somebody else has cordoned, is left.
func (n *Node) Uncordon(ctx context.Context, attempt, outcome string) error {
	changed := false
	err := n.change(ctx, "uncordon node "+n.config.Node, func(o object) (map[string]any, error) {
		if _, ours := o.Metadata.Annotations[cordonedBy]; !ours {
			return nil, nil
		}
		changed = true
		patch := map[string]any{cordonedBy: nil}
		if o.Spec.Unschedulable {
			patch["unschedulable"] = nil
		}
		return patch, nil
	})
	if is(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	text := "Uncordoned: " + outcome + ", attempt " + attempt
	if changed {
		n.event(ctx, "PawlUncordoned", text)
	}
	err = n.settle(ctx, text) // also if it was cut off from it before
	if final(err) {
		n.config.Log.Warn("the condition is not taken back", "node", n.config.Node, "reason", err)
		return nil // it may not: then it was not told either
	}
	return err
}

// Ready returns why the Node is not ready, or nil. What was said of an earlier boot does not count: until the kubelet
// has said something new, a Node is as ready as it was before it restarted.
func (n *Node) Ready(ctx context.Context) error {
	o, err := n.read(ctx)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.config.Node, err)
	}
	if told := o.Status.NodeInfo.BootID; n.config.BootID != "" && told != n.config.BootID {
		return fmt.Errorf("node %s: its kubelet has told nothing since it restarted", n.config.Node)
	}
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return nil
		}
		if c.Type == "Ready" {
			return fmt.Errorf("node %s is not ready: %.100q: %.300q", n.config.Node, c.Reason, c.Message)
		}
	}
	return fmt.Errorf("node %s is not ready: nothing is known of it", n.config.Node)
}
