package kubernetes

import (
	"context"
	"net/http"
	"time"
	"unicode/utf8"
)

// condition is the type of the Node's condition that says what is done to it here. It is true as long as the Node is
// cordoned here.
const condition = "PawlUpgrade"

// maxText bounds what is told, in bytes.
const maxText = 1000

// tell tells those who look at the Node (`kubectl describe node`) what happens to it, by an event and by a condition.
// Nothing depends on it: an error is logged, and is no error of what was done.
func (n *Node) tell(ctx context.Context, reason, text string) {
	n.event(ctx, reason, text)
	o, err := n.read(ctx)
	if _, ours := o.Metadata.Annotations[cordonedBy]; err == nil && ours {
		err = n.condition(ctx, o, true, reason, text)
	}
	if err != nil {
		n.config.Log.Warn("the condition is not told", "node", n.config.Node, "condition", reason, "reason", err)
	}
}

func (n *Node) event(ctx context.Context, reason, text string) {
	now := time.Now().UTC().Format(time.RFC3339)
	err := n.call(ctx, http.MethodPost, "/api/v1/namespaces/default/events", plain, map[string]any{
		"apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": reason, "message": bounded(text), "count": 1,
		"metadata": map[string]string{"generateName": "pawl-", "namespace": "default"},
		"involvedObject": map[string]string{"apiVersion": "v1", "kind": "Node", "name": n.config.Node,
			"uid": n.config.Node},
		"source":         map[string]string{"component": "pawl", "host": n.config.Node},
		"firstTimestamp": now, "lastTimestamp": now,
	}, nil)
	if err != nil {
		n.config.Log.Warn("the event is not told", "node", n.config.Node, "event", reason, "reason", err)
	}
}

// condition writes this package's own condition; those of others stay.
func (n *Node) condition(ctx context.Context, o object, on bool, reason, text string) error {
	now := time.Now().UTC().Format(time.RFC3339)
	c := map[string]string{"type": condition, "status": "False", "reason": reason, "message": bounded(text),
		"lastHeartbeatTime": now}
	if on {
		c["status"] = "True"
	}
	if o.disturbed() != on {
		c["lastTransitionTime"] = now
	}
	return n.call(ctx, http.MethodPatch, n.path()+"/status", strategic,
		map[string]any{"status": map[string]any{"conditions": []any{c}}}, nil)
}

// settle takes the condition back, if it stands.
func (n *Node) settle(ctx context.Context, text string) error {
	return n.until(ctx, "take back the condition of node "+n.config.Node, func() error {
		o, err := n.read(ctx)
		if err != nil || !o.disturbed() {
			return err
		}
		return n.condition(ctx, o, false, "PawlUncordoned", text)
	})
}

// disturbed reports whether the condition stands.
func (o object) disturbed() bool {
	for _, c := range o.Status.Conditions {
		if c.Type == condition {
			return c.Status == "True"
		}
	}
	return false
}

// bounded is a text that an API server takes.
func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}
