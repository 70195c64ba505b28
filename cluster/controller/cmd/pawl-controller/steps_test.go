package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/pawl-os/pawl/cluster/controller/fleet"
	"github.com/pawl-os/pawl/cluster/controller/v1alpha1"
	nodeclient "github.com/pawl-os/pawl/node/client"
)

// desk is a stand-in for the API server, and real nodes.
type desk struct {
	*lab
	client client.Client
	nodes  []*computer
}

func newDesk(t *testing.T, names ...string) *desk {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, corev1.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddTo(scheme))
	d := &desk{lab: newLab(t)}
	d.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.OSUpgrade{}).Build()
	for _, name := range names {
		c := d.computer(t, name)
		d.nodes = append(d.nodes, c)
		require.NoError(t, d.client.Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{fleet.Address: c.address}},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady,
				Status: corev1.ConditionTrue}}},
		}))
	}
	return d
}

func (d *desk) get(t *testing.T, name string) *v1alpha1.OSUpgrade {
	t.Helper()
	var u v1alpha1.OSUpgrade
	require.NoError(t, d.client.Get(t.Context(), types.NamespacedName{Name: name}, &u))
	return &u
}

// look is one look of a controller that is made for it, and remembers nothing: as if each had just been killed.
func (d *desk) look(ctx context.Context, t *testing.T, name string) time.Duration {
	t.Helper()
	r, err := d.controller(d.client).Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: name}})
	require.NoError(t, err)
	return r.RequeueAfter
}

func (d *desk) controller(reader client.Reader) *fleet.Controller {
	return &fleet.Controller{Client: d.client, Reader: reader, Nodes: nodeclient.Options{CA: d.file("ca.crt"),
		Cert: d.file("client.crt"), Key: d.file("client.key")}, Port: "7295", Poll: time.Millisecond, Lease: time.Minute}
}

// interrupted is a reader before whose second look at a resource something happens.
type interrupted struct {
	client.Reader
	gets int
	what func()
}

func (r *interrupted) Get(ctx context.Context, k client.ObjectKey, o client.Object, all ...client.GetOption) error {
	if r.gets++; r.gets == 2 {
		r.what()
	}
	return r.Reader.Get(ctx, k, o, all...)
}

func TestAPauseThatComesJustBeforeAnOrderHolds(t *testing.T) {
	d := newDesk(t, "a")
	require.NoError(t, d.client.Create(t.Context(), &v1alpha1.OSUpgrade{ObjectMeta: metav1.ObjectMeta{Name: "fleet"},
		Spec: v1alpha1.Spec{Image: d.reference("2.0.0")}}))
	d.look(t.Context(), t, "fleet")
	require.Equal(t, "Ordered", d.get(t, "fleet").Status.Nodes[0].State)
	r := &interrupted{Reader: d.client, what: func() {
		u := d.get(t, "fleet")
		u.Spec.Paused = true
		require.NoError(t, d.client.Update(t.Context(), u))
	}}
	_, err := d.controller(r).Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "fleet"}})
	require.NoError(t, err)
	require.Equal(t, 2, r.gets)
	_, orders := d.nodes[0].history()
	require.Zero(t, orders)
	d.look(t.Context(), t, "fleet")
	require.Equal(t, "Paused", d.get(t, "fleet").Status.Phase)
	require.Equal(t, "Pending", d.get(t, "fleet").Status.Nodes[0].State)
}

// until looks until the phase is reached, and checks what has to hold all the time.
func (d *desk) until(t *testing.T, name, phase string, check func(v1alpha1.Status)) v1alpha1.Status {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; {
		pause := d.look(t.Context(), t, name)
		s := d.get(t, name).Status
		check(s)
		if s.Phase == phase {
			return s
		}
		require.True(t, time.Now().Before(end), "%+v", s)
		time.Sleep(min(pause, 30*time.Millisecond))
	}
}

func TestAControllerThatIsKilledAfterEachStep(t *testing.T) {
	d := newDesk(t, "a", "b", "c")
	require.NoError(t, d.client.Create(t.Context(), &v1alpha1.OSUpgrade{ObjectMeta: metav1.ObjectMeta{Name: "fleet"},
		Spec: v1alpha1.Spec{Image: d.reference("2.0.0"), MaxUnavailable: 1}}))
	s := d.until(t, "fleet", "Complete", func(s v1alpha1.Status) {
		under := 0
		for i, c := range d.nodes {
			boots, orders := c.history()
			require.LessOrEqual(t, orders, 1, "%s is ordered twice", c.name)
			if orders > 0 {
				require.NotEqual(t, "Pending", s.Nodes[i].State, "it was written down before")
			}
			if orders > 0 && i > 0 {
				require.Equal(t, "Done", s.Nodes[0].State, "the canary is first")
			}
			if orders > 0 && s.Nodes[i].State != "Done" {
				under++
			}
			require.LessOrEqual(t, len(boots), 2)
		}
		require.LessOrEqual(t, under, 1)
	})
	require.Equal(t, "3/3", s.Progress)
	require.Equal(t, []string{"canary", "rest", "rest"}, []string{s.Nodes[0].Wave, s.Nodes[1].Wave, s.Nodes[2].Wave})
	for _, c := range d.nodes {
		boots, orders := c.history()
		require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial"}, boots)
		require.Equal(t, 1, orders)
	}

	u := d.get(t, "fleet")
	u.Spec.Image = d.reference(broken)
	require.NoError(t, d.client.Update(t.Context(), u))
	s = d.until(t, "fleet", "Stopped", func(v1alpha1.Status) {})
	require.Contains(t, s.Message, "a: fell back: ")
	require.Contains(t, s.Message, "it does not come up")
	for range 5 {
		d.look(t.Context(), t, "fleet")
	}
	for i, c := range d.nodes {
		boots, orders := c.history()
		require.Equal(t, map[bool]int{true: 2, false: 1}[i == 0], orders, c.name)
		require.Equal(t, map[bool]string{true: "2.0.0 in B", false: "2.0.0 in B on trial"}[i == 0], boots[len(boots)-1])
	}
	require.Equal(t, metav1.ConditionTrue, condition(s, v1alpha1.ConditionStopped))
	require.Equal(t, metav1.ConditionFalse, condition(s, v1alpha1.ConditionComplete))

	other := &v1alpha1.OSUpgrade{ObjectMeta: metav1.ObjectMeta{Name: "other", CreationTimestamp: metav1.Now()},
		Spec: v1alpha1.Spec{Image: d.reference("1.0.0")}}
	require.NoError(t, d.client.Create(t.Context(), other))
	d.look(t.Context(), t, "other")
	require.Contains(t, d.get(t, "other").Status.Message, "node a belongs to OSUpgrade fleet, which is older")
}

func condition(s v1alpha1.Status, kind string) metav1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return "absent"
}
