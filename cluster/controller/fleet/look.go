package fleet

import (
	"cmp"
	"context"
	"net"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pawl-os/pawl/cluster/controller/rollout"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	nodeclient "github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// Address is the annotation of a Node with the address of its API: HOST or HOST:PORT. Without it, that is the Node's
// first InternalIP.
const Address = "pawl-os.org/address"

// Times of a look, and how many nodes are looked at at once.
const (
	lookTime = 5 * time.Second
	askTime  = 30 * time.Second // the node asks a registry
	atOnce   = 32
)

// address is where a node's API is; empty: it is not known.
func (c *Controller) address(n corev1.Node) string {
	address := n.Annotations[Address]
	for _, a := range n.Status.Addresses {
		if address == "" && a.Type == corev1.NodeInternalIP {
			address = a.Address
		}
	}
	if _, _, err := net.SplitHostPort(address); address == "" || err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), c.Port)
}

// open returns a client of a node; its files are read anew, since certificates are renewed.
func (c *Controller) open(address string) (*nodeclient.Client, error) {
	if strings.HasPrefix(address, "unix:") || strings.Contains(address, "://") {
		return nil, &nodeclient.Error{Node: address, Kind: "request", Text: "want HOST or HOST:PORT"}
	}
	return nodeclient.Open(address, c.Nodes)
}

// look looks at the nodes.
func (c *Controller) look(ctx context.Context, u *v1alpha1.OSUpgrade, from []corev1.Node, to []rollout.Node) {
	places := make(chan struct{}, atOnce)
	var looking sync.WaitGroup
	for i, n := range from {
		places <- struct{}{}
		looking.Go(func() {
			defer func() { <-places }()
			to[i] = c.lookAt(ctx, n)
			to[i].Refused = c.orders.refused(orderKey(u, n.Name))
		})
	}
	looking.Wait()
}

// lookAt is what one node says of itself, and what Kubernetes says of it.
func (c *Controller) lookAt(ctx context.Context, from corev1.Node) rollout.Node {
	n := rollout.Node{Name: from.Name, Cordoned: from.Spec.Unschedulable}
	for _, condition := range from.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			n.Ready = condition.Status == corev1.ConditionTrue
		}
	}
	address := c.address(from)
	if address == "" {
		n.Problem = "the Node has no address (an InternalIP, or the annotation " + Address + ")"
		return n
	}
	node, err := c.open(address)
	if err != nil {
		n.Problem = bounded(err.Error())
		return n
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	st, err := node.Status(ctx)
	if err != nil {
		n.Away = bounded(err.Error())
		return n
	}
	says(&n, st)
	return n
}

// says is what a node says of itself.
func says(n *rollout.Node, st *pawlv1.StatusResponse) {
	n.Boot, n.Version, n.Trial = text(st.BootId), text(st.Version), st.Trial && st.Unordered == ""
	n.Unordered, n.Armed = text(st.Unordered), st.Armed != "" && st.Armed != st.Active
	n.Undoing = text(strings.Join(st.Undoing, "; "))
	for _, slot := range st.Slots {
		if slot.Name == st.Active {
			n.Image = slot.Image
		}
	}
	if op := st.Operation; op.GetRunning() {
		n.For, _ = strings.CutPrefix(op.Name, "upgrade to ")
		if n.For == op.Name {
			n.For = ""
		}
		n.Busy = text(strings.TrimSuffix(op.Name+": "+cmp.Or(op.Notice, op.Progress.GetStep()), ": "))
	}
	if a := st.Attempt; a != nil {
		n.Attempt = &rollout.Attempt{ID: text(a.Id), Image: a.Image, Result: a.Result, Reason: text(a.Reason)}
	}
	n.Bad = map[string]string{}
	for _, b := range st.KnownBad {
		n.Bad[b.Image] = text(cmp.Or(b.Reason, "it failed its trial"))
	}
}

func text(of string) string { return bounded(of) }

// resolve asks a node what an image is; doubt is why it cannot say it.
func (c *Controller) resolve(ctx context.Context, s v1alpha1.Spec, address string) (digest, doubt string) {
	node, err := c.open(address)
	if err != nil {
		return "", bounded(err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	plan, err := node.Plan(ctx, &pawlv1.PlanRequest{Image: s.Image, Preserve: s.Preserve})
	switch {
	case err == nil:
		return plan.Image, ""
	case nodeclient.ErrorKind(err) != "same":
		return "", bounded(err.Error())
	}
	var n rollout.Node
	st, err := node.Status(ctx)
	if err != nil {
		return "", bounded(err.Error())
	}
	says(&n, st)
	return n.Image, ""
}
