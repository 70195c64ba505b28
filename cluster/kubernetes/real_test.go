package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/internal/credentials"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/node"
)

// world is a control plane for many cases. Each has Nodes and a namespace of its own.
type world struct {
	*real.ControlPlane
	kubelets *real.Kubelets
	account  string // token of the ServiceAccount of cluster/manifests
	nodes    atomic.Int32
	names    atomic.Int32
}

// TestOnRealServers is what the API server, its controllers and kubectl have to say.
func TestOnRealServers(t *testing.T) {
	w := &world{ControlPlane: real.Kubernetes(t)}
	w.kubelets = w.Kubelets()
	manifest, err := os.ReadFile("../manifests/node.yaml")
	require.NoError(t, err)
	w.Apply(string(manifest))
	w.account = w.token(t)
	t.Run("at once", func(t *testing.T) {
		for name, run := range map[string]func(*testing.T, *world){
			"kubectl":        asKubectl,
			"cordon":         cordons,
			"budget":         budgetHolds,
			"never":          budgetThatNeverAllows,
			"two budgets":    twoBudgets,
			"same name":      sameName,
			"ends late":      endsLate,
			"dead kubelet":   deadKubelet,
			"ill answers":    illAnswers,
			"account":        withAnAccount,
			"another's node": anothersNode,
			"lock":           lockInLeases,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t, w)
			})
		}
	})
	t.Run("API server restarts", func(t *testing.T) { serverRestarts(t, w) })
}

func (w *world) token(t *testing.T) string {
	t.Helper()
	token, err := w.Kubectl("", "create", "token", "pawl", "--namespace", "pawl")
	require.NoError(t, err)
	return strings.TrimSpace(token)
}

// node makes Nodes that only pods of this case are bound to, and a namespace for them.
func (w *world) node(t *testing.T, n int) (group string, names []string) {
	t.Helper()
	group = fmt.Sprintf("case-%d", w.names.Add(1))
	require.NoError(t, w.Call(http.MethodPost, "/api/v1/namespaces", object1("v1", "Namespace", group, nil), nil))
	for range n {
		name := real.NodeName(int(w.nodes.Add(1)) - 1)
		w.Node(name, "b1", "")
		require.NoError(t, w.Call(http.MethodPatch, "/api/v1/nodes/"+name,
			map[string]any{"metadata": map[string]any{"labels": map[string]any{"case": group}}}, nil))
		names = append(names, name)
	}
	return group, names
}

// as is this package's view of a Node, by a token.
func (w *world) as(t *testing.T, name, token string) *Node {
	t.Helper()
	tls, err := credentials.Client(w.CA, "", "")
	require.NoError(t, err)
	n, err := Open(Config{URL: w.URL, TLS: tls, Node: name, BootID: "b1", Pause: 200 * time.Millisecond,
		TokenFile: w.TokenFile(token)})
	require.NoError(t, err)
	return n
}

func (w *world) kubelet(t *testing.T, name string) *Node {
	return w.as(t, name, real.Token(real.NodeUser(name)))
}

func object1(version, kind, name string, spec map[string]any) map[string]any {
	o := map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name}}
	if spec != nil {
		o["spec"] = spec
	}
	return o
}

// owner is a reference to what keeps a pod.
func owner(version, kind, name string) []any {
	return []any{map[string]any{"apiVersion": version, "kind": kind, "name": name, "uid": "uid-of-" + name,
		"controller": true}}
}

// made is a pod on a Node: more changes it before it is made.
func (w *world) made(t *testing.T, group, name, at string, more func(metadata, spec map[string]any), phase string) {
	t.Helper()
	spec := map[string]any{"nodeName": at, "containers": []any{map[string]any{"name": "c", "image": "x"}}}
	p := object1("v1", "Pod", name, spec)
	if more != nil {
		more(p["metadata"].(map[string]any), spec)
	}
	if m := p["metadata"].(map[string]any); phase != "" && m["annotations"] == nil {
		m["annotations"] = map[string]any{real.Ends: phase}
	} else if phase != "" {
		m["annotations"].(map[string]any)[real.Ends] = phase
	}
	path := "/api/v1/namespaces/" + group + "/pods"
	require.NoError(t, w.Call(http.MethodPost, path, p, nil))
	require.Eventually(t, func() bool {
		var p pod
		err := w.Call(http.MethodGet, path+"/"+name, nil, &p)
		return err == nil && p.Status.Phase != "Pending" || w.kubelets.IsDead(at)
	}, time.Minute, 20*time.Millisecond)
}

// replicas has so many pods kept by a ReplicaSet, each with a label, and waits until they run.
func (w *world) replicas(t *testing.T, group string, n int, annotations map[string]any) {
	t.Helper()
	labels := map[string]any{"app": "web"}
	require.NoError(t, w.Call(http.MethodPost, "/apis/apps/v1/namespaces/"+group+"/replicasets",
		object1("apps/v1", "ReplicaSet", "web", map[string]any{"replicas": n,
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations},
				"spec": map[string]any{"nodeSelector": map[string]any{"case": group},
					"containers": []any{map[string]any{"name": "c", "image": "x"}}}}}), nil))
	require.Eventually(t, func() bool { return w.ready(group) == n }, time.Minute, 50*time.Millisecond, w.Manager.Log())
}

// budget keeps so many of them available, and waits until the controller manager has counted.
func (w *world) budget(t *testing.T, group, name string, available any) {
	t.Helper()
	path := "/apis/policy/v1/namespaces/" + group + "/poddisruptionbudgets"
	require.NoError(t, w.Call(http.MethodPost, path, object1("policy/v1", "PodDisruptionBudget", name,
		map[string]any{"minAvailable": available,
			"selector": map[string]any{"matchLabels": map[string]any{"app": "web"}}}), nil))
	require.Eventually(t, func() bool {
		var b struct{ Status struct{ ExpectedPods int } }
		return w.Call(http.MethodGet, path+"/"+name, nil, &b) == nil && b.Status.ExpectedPods > 0
	}, time.Minute, 50*time.Millisecond)
}

func (w *world) ready(group string) (n int) {
	pods, err := w.Pods(group)
	if err != nil {
		return -1
	}
	for _, p := range pods {
		if p.Metadata.DeletionTimestamp == nil && p.Status.Phase == "Running" {
			n++
		}
	}
	return n
}

// on are the names of the pods on a Node.
func (w *world) on(t *testing.T, at string) []string {
	t.Helper()
	pods, err := w.Pods("")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, p := range pods {
		if p.Spec.NodeName == at {
			names[p.Metadata.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// cordoned reports whether a Node takes no pods, and by which attempt.
func (w *world) cordoned(t *testing.T, name string) (bool, string) {
	t.Helper()
	var o object
	require.NoError(t, w.Call(http.MethodGet, "/api/v1/nodes/"+name, nil, &o))
	return o.Spec.Unschedulable, o.Metadata.Annotations[cordonedBy]
}

func cordons(t *testing.T, w *world) {
	_, names := w.node(t, 1)
	name := names[0]
	n, ctx := w.kubelet(t, name), within(t, time.Minute)
	require.NoError(t, n.Cordon(ctx, "a1"))
	require.NoError(t, n.Cordon(ctx, "a2"), "what an earlier attempt left is this one's")
	on, by := w.cordoned(t, name)
	require.True(t, on)
	require.Equal(t, "a2", by)
	require.NoError(t, n.Drain(ctx, nil))
	n.Restarts(ctx, "Restarts to try version 2.0.0, attempt a2")
	said, err := w.Kubectl("", "describe", "node", name)
	require.NoError(t, err)
	require.Regexp(t, `(?m)^ *PawlUpgrade +True .* PawlRestarting +Restarts to try version 2\.0\.0, attempt a2`, said)
	require.Regexp(t, `(?m)^ *Ready +True .* KubeletReady`, said, "the kubelet's own stays")
	w.Node(name, "b2", "")
	require.ErrorContains(t, n.Ready(ctx), "has told nothing since it restarted")
	require.NoError(t, n.Uncordon(ctx, "a2", "version 2.0.0 is confirmed"))
	require.NoError(t, n.Uncordon(ctx, "a2", "version 2.0.0 is confirmed"), "again")
	on, by = w.cordoned(t, name)
	require.False(t, on)
	require.Empty(t, by)
	said, err = w.Kubectl("", "describe", "node", name)
	require.NoError(t, err)
	t.Log(said)
	for _, reason := range []string{"PawlCordoned", "PawlDraining", "PawlDrained", "PawlRestarting", "PawlUncordoned"} {
		require.Regexp(t, `(?m)^ *Normal +`+reason+` +\S+ +pawl `, said)
	}
	require.Regexp(t, `(?m)^ *PawlUpgrade +False .* PawlUncordoned +Uncordoned: version 2\.0\.0 is confirmed, att`, said)

	_, err = w.Kubectl("", "cordon", name)
	require.NoError(t, err)
	require.ErrorIs(t, n.Cordon(ctx, "a3"), node.ErrAlready)
	require.NoError(t, n.Drain(ctx, nil))
	require.NoError(t, n.Uncordon(ctx, "a3", "done"))
	on, _ = w.cordoned(t, name)
	require.True(t, on, "it stays as the administrator has it")
	_, err = w.Kubectl("", "delete", "node", name)
	require.NoError(t, err)
	require.NoError(t, n.Uncordon(ctx, "a3", "done"), "a Node that is gone needs nothing")
	require.ErrorContains(t, n.Cordon(ctx, "a3"), "404")
}

// anothersNode: a kubelet's credentials end at its own Node.
func anothersNode(t *testing.T, w *world) {
	group, names := w.node(t, 2)
	w.made(t, group, "web", names[1], owned("apps/v1", "ReplicaSet", "r"), "")
	n, ctx := w.as(t, names[1], real.Token(real.NodeUser(names[0]))), within(t, time.Minute)
	require.ErrorContains(t, n.Cordon(ctx, "a1"), "403")
	require.ErrorContains(t, n.Drain(ctx, nil), "403")
	on, _ := w.cordoned(t, names[1])
	require.False(t, on)
	require.Equal(t, []string{"web"}, w.on(t, names[1]))
}

// withAnAccount: the manifest's rights are enough, and are no more than they have to be.
func withAnAccount(t *testing.T, w *world) {
	group, names := w.node(t, 1)
	w.replicas(t, group, 2, nil)
	n, ctx := w.as(t, names[0], w.account), within(t, time.Minute)
	require.NoError(t, n.Cordon(ctx, "a1"))
	require.NoError(t, n.Drain(ctx, nil))
	require.Empty(t, w.on(t, names[0]))
	n.Restarts(ctx, "Restarts to try version 2.0.0, attempt a1")
	said, err := w.Kubectl("", "describe", "node", names[0])
	require.NoError(t, err)
	require.Regexp(t, `(?m)^ *PawlUpgrade +True .* PawlRestarting`, said)
	require.NoError(t, n.Uncordon(ctx, "a1", "done"))
	require.NoError(t, n.Ready(ctx))
	require.Eventually(t, func() bool { return len(w.on(t, names[0])) == 2 }, time.Minute, 50*time.Millisecond)
	pods, err := n.pods(ctx)
	require.NoError(t, err)
	require.ErrorContains(t, n.remove(ctx, pods[0]), "403", "nothing is deleted without --drain-force")
	said, err = w.Kubectl("", "auth", "can-i", "--list", "--as=system:serviceaccount:pawl:pawl", "--namespace", "pawl")
	require.NoError(t, err)
	require.NotContains(t, said, "*.*")
	require.Regexp(t, `leases\.coordination\.k8s\.io +\[\] +\[workers-0\] +\[get patch\]`, said)
}

// drained is how long a drain takes, or its error.
func drained(ctx context.Context, n *Node) (time.Duration, error) {
	begun := time.Now()
	err := n.Drain(ctx, nil)
	return time.Since(begun), err
}
