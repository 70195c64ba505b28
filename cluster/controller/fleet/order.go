package fleet

import (
	"context"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pawl-os/pawl/cluster/controller/rollout"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	nodeclient "github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// orders are those that this process has given and follows, and how those ended that nothing came of.
type orders struct {
	mu    sync.Mutex
	given map[string]*order
}

type order struct {
	running bool
	refusal *rollout.Refusal
}

func orderKey(u *v1alpha1.OSUpgrade, node string) string {
	return string(u.UID) + "/" + u.Status.Digest + "/" + node
}

// refused is why nothing came of the last order; nil if it is not known, or one is underway.
func (o *orders) refused(key string) *rollout.Refusal {
	o.mu.Lock()
	defer o.mu.Unlock()
	if given := o.given[key]; given != nil {
		return given.refusal
	}
	return nil
}

// begin reports whether an order is to be given: none to that node is underway here.
func (o *orders) begin(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if given := o.given[key]; given != nil && given.running {
		return false
	}
	if o.given == nil {
		o.given = map[string]*order{}
	}
	o.given[key] = &order{running: true}
	return true
}

func (o *orders) end(key string, refusal *rollout.Refusal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.given[key] = &order{refusal: refusal}
}

// acceptTime is how long a node may take to say anything to an order; followTime how long one is followed.
const (
	acceptTime = 10 * time.Second
	followTime = 2 * time.Hour
)

// give orders a node to upgrade, and returns once it has said something to that. The order is followed on to see why a
// node refuses it; it goes on when this process ends.
func (c *Controller) give(ctx context.Context, u *v1alpha1.OSUpgrade, o rollout.Order, address string) {
	key := orderKey(u, o.Node)
	if !c.orders.begin(key) {
		return
	}
	node, err := c.open(address)
	if err != nil {
		c.orders.end(key, refusal(err))
		return
	}
	r := &pawlv1.UpgradeRequest{Image: o.Image, Preserve: u.Spec.Preserve, Tries: uint32(max(u.Spec.Tries, 1)),
		Reboot: true, Client: c.Version}
	said := make(chan struct{})
	say := sync.OnceFunc(func() { close(said) })
	logger := log.FromContext(ctx)
	go func() {
		defer say()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followTime)
		defer cancel()
		_, err := node.Upgrade(ctx, r, func(*pawlv1.Event) { say() })
		if err != nil {
			logger.Info("the order ended", "node", o.Node, "reason", err.Error())
		}
		c.orders.end(key, refusal(err))
	}()
	select {
	case <-said:
	case <-time.After(acceptTime):
	case <-ctx.Done():
	}
}

// final are the kinds of errors to which another try would lead again.
var final = []string{"config", "request", "unordered", "known-bad", "not-complete", "does-not-fit", "version", "unfit",
	"policy", "cold", "rehearsal", "foreign", "no-variables", "ambiguous", "no-loader", "image-reference",
	"image-unsigned", "image-wrong-key", "image-wrong-subject", "image-policy", "image-not-found", "image-platform",
	"image-tampered", "image-no-assets", "image-unreadable", "image-unsafe", "disk-foreign", "disk-damaged"}

// refusal is what the end of an order means; nil: nothing is wrong, or the upgrade goes on.
func refusal(err error) *rollout.Refusal {
	kind := nodeclient.ErrorKind(err)
	if err == nil || kind == "same" || kind == nodeclient.Unreachable || kind == nodeclient.Timeout {
		return nil
	}
	return &rollout.Refusal{At: time.Now().UTC().Truncate(time.Second), Final: slices.Contains(final, kind),
		Text: bounded(err.Error())}
}
