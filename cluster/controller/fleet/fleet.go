// Package fleet carries out what an OSUpgrade asks for: it looks at the nodes through their API, has package rollout
// decide, writes down what that says in the resource's status, and only then orders upgrades. It remembers nothing that
// is not in the status, but for why a node refused an order: that is asked for again. Start with Controller.
//
// Only one may do this at a time (leader election). One that was paused for longer than its lease gives no order:
// right before each, it sees whether the status still is as it wrote it.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/pawl-os/pawl/cluster/controller/rollout"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	nodeclient "github.com/pawl-os/pawl/node/client"
)

// Controller is a reconciler of OSUpgrades. All is required but Events.
type Controller struct {
	Client  client.Client        // Nodes, and the status
	Reader  client.Reader        // past any cache: what was written down last
	Nodes   nodeclient.Options   // how nodes are reached
	Port    string               // of their API, where an address names none
	Poll    time.Duration        // between two looks while something is underway
	Lease   time.Duration        // for which it leads without asking
	Version string               // what it calls itself to the nodes
	Events  events.EventRecorder // nil: none are told

	orders orders
}

// Begin has a manager run it.
func (c *Controller) Begin(m ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(m).
		For(&v1alpha1.OSUpgrade{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(c)
}

// Reconcile looks once, and does what follows.
func (c *Controller) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	var u v1alpha1.OSUpgrade
	if err := c.Reader.Get(ctx, r.NamespacedName, &u); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !u.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	before := u.DeepCopy()
	in := rollout.Input{Now: time.Now().UTC().Truncate(time.Second)} // as precise as what is written down
	d, nodes, err := c.decide(ctx, &u, in)
	var invalid invalidError
	if err != nil && !errors.As(err, &invalid) {
		return ctrl.Result{}, err
	}
	if err != nil {
		u.Status.Phase, u.Status.Message = string(rollout.Stopped), bounded(err.Error())
		d = rollout.Decision{Wake: in.Now.Add(time.Minute)}
	} else {
		u.Status = written(u.Status, d.Status)
	}
	u.Status.ObservedGeneration = u.Generation
	conditions(&u)
	if !equality.Semantic.DeepEqual(before.Status, u.Status) {
		if err := c.Client.Status().Update(ctx, &u); err != nil {
			return ctrl.Result{}, fmt.Errorf("write the status of OSUpgrade %s: %w", u.Name, err)
		}
		c.tell(before, &u)
	}
	if err := c.order(ctx, &u, d.Orders, nodes); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: c.pause(d, in.Now)}, nil
}

// order gives orders, if what was written down still is what it was: else another leads by now, or a person has changed
// what is asked for.
func (c *Controller) order(ctx context.Context, u *v1alpha1.OSUpgrade, all []rollout.Order,
	nodes map[string]string) error {
	for _, o := range all {
		asked := time.Now()
		var now v1alpha1.OSUpgrade
		if err := c.Reader.Get(ctx, client.ObjectKeyFromObject(u), &now); err != nil {
			return client.IgnoreNotFound(err)
		}
		if now.ResourceVersion != u.ResourceVersion || time.Since(asked) > c.Lease/3 {
			return nil
		}
		log.FromContext(ctx).Info("order", "node", o.Node, "image", o.Image)
		c.give(ctx, u, o, nodes[o.Node])
	}
	return nil
}

// pause is how long it is until the next look.
func (c *Controller) pause(d rollout.Decision, now time.Time) time.Duration {
	pause := max(d.Wake.Sub(now), time.Millisecond)
	if len(d.Orders) > 0 || d.Status.Phase == rollout.Progressing {
		pause = min(pause, c.Poll)
	}
	return pause
}

// decide looks at the nodes, and has it decided what follows. nodes are their addresses.
func (c *Controller) decide(ctx context.Context, u *v1alpha1.OSUpgrade, in rollout.Input) (rollout.Decision,
	map[string]string, error) {
	s, err := selection(u.Spec)
	if err != nil {
		return rollout.Decision{}, nil, err
	}
	if in.Spec, err = spec(u.Spec); err != nil {
		return rollout.Decision{}, nil, err
	}
	in.Status = read(u.Status)
	var all corev1.NodeList
	if err := c.Client.List(ctx, &all); err != nil {
		return rollout.Decision{}, nil, err
	}
	chosen := slices.DeleteFunc(all.Items, func(n corev1.Node) bool { return !s.all(n) })
	if err := c.alone(ctx, u, chosen); err != nil {
		return rollout.Decision{}, nil, err
	}
	in.Nodes = make([]rollout.Node, len(chosen))
	addresses := map[string]string{}
	for _, n := range chosen {
		addresses[n.Name] = c.address(n)
	}
	c.look(ctx, u, chosen, in.Nodes)
	for i := range in.Nodes {
		s.place(chosen[i], &in.Nodes[i])
	}
	d := rollout.Decide(in)
	if d.Resolve != "" {
		in.Resolved, in.Doubt = c.resolve(ctx, u.Spec, addresses[d.Resolve])
		d = rollout.Decide(in)
	}
	return d, addresses, nil
}

// invalidError is why what is asked for cannot be done.
type invalidError struct{ error }

// alone returns an error if a node belongs to another OSUpgrade, which was there before.
func (c *Controller) alone(ctx context.Context, u *v1alpha1.OSUpgrade, nodes []corev1.Node) error {
	var others v1alpha1.OSUpgradeList
	if err := c.Reader.List(ctx, &others); err != nil {
		return err
	}
	for _, o := range others.Items {
		if o.Name == u.Name || !older(o, *u) {
			continue
		}
		s, err := selection(o.Spec)
		if err != nil {
			continue // it orders nothing
		}
		if i := slices.IndexFunc(nodes, s.all); i >= 0 {
			return invalidError{fmt.Errorf("node %s belongs to OSUpgrade %s, which is older (delete that one, change its "+
				"image, or select other nodes)", nodes[i].Name, o.Name)}
		}
	}
	return nil
}

func older(a, b v1alpha1.OSUpgrade) bool {
	if at := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); at != 0 {
		return at < 0
	}
	return strings.Compare(a.Name, b.Name) < 0
}

// conditions are what programs look at.
func conditions(u *v1alpha1.OSUpgrade) {
	set := func(kind string, is bool) {
		status := metav1.ConditionFalse
		if is {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&u.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: u.Status.Phase,
			Message: u.Status.Message, ObservedGeneration: u.Generation})
	}
	set(v1alpha1.ConditionComplete, u.Status.Phase == string(rollout.Complete))
	set(v1alpha1.ConditionStopped, u.Status.Phase == string(rollout.Stopped))
}

// tell tells those who look at the resource (`kubectl describe osupgrade`) what changed. Nothing depends on it.
func (c *Controller) tell(before, u *v1alpha1.OSUpgrade) {
	if c.Events == nil {
		return
	}
	for _, n := range u.Status.Nodes {
		i := slices.IndexFunc(before.Status.Nodes, func(b v1alpha1.NodeStatus) bool { return b.Name == n.Name })
		if i >= 0 && before.Status.Nodes[i].State == n.State || i < 0 && n.State == string(rollout.Pending) {
			continue
		}
		kind := corev1.EventTypeNormal
		if n.State == string(rollout.Failed) {
			kind = corev1.EventTypeWarning
		}
		c.Events.Eventf(u, nil, kind, "Node"+n.State, "Upgrade", "%s", bounded(strings.TrimSuffix(n.Name+": "+n.Message,
			": ")))
	}
	if before.Status.Phase != u.Status.Phase {
		c.Events.Eventf(u, nil, corev1.EventTypeNormal, u.Status.Phase, "Upgrade", "%s", bounded(u.Status.Progress+
			" nodes are done. "+u.Status.Message))
	}
}
