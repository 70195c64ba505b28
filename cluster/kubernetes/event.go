package kubernetes

import (
	"context"
	"net/http"
	"time"
)

// event tells those who look at the Node (`kubectl describe node`) what happens to it. Nothing depends on it: an error
// is logged, and is no error of what was done.
func (n *Node) event(ctx context.Context, reason, text string) {
	now := time.Now().UTC().Format(time.RFC3339)
	err := n.call(ctx, http.MethodPost, "/api/v1/namespaces/default/events", plain, map[string]any{
		"apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": reason, "message": text, "count": 1,
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
