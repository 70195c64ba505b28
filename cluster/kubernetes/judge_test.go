package kubernetes

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/internal/real"
)

// kind is a kind of pod that drains tell apart.
type kind struct {
	name  string
	more  func(metadata, spec map[string]any)
	phase string
	flags bool // what is allowed matters for it
}

func owned(version, kind, name string) func(metadata, spec map[string]any) {
	return func(m, _ map[string]any) { m["ownerReferences"] = owner(version, kind, name) }
}

// scratch is an emptyDir volume.
func scratch(more func(metadata, spec map[string]any)) func(metadata, spec map[string]any) {
	return func(m, s map[string]any) {
		if more != nil {
			more(m, s)
		}
		s["volumes"] = []any{map[string]any{"name": "v", "emptyDir": map[string]any{}}}
	}
}

func static(m, _ map[string]any) { m["annotations"] = map[string]any{mirror: "x"} }

// loose has an owner that does not control it.
func loose(m, _ map[string]any) {
	m["ownerReferences"] = owner("apps/v1", "ReplicaSet", "r")
	m["ownerReferences"].([]any)[0].(map[string]any)["controller"] = false
}

var kinds = []kind{
	{"a replica", owned("apps/v1", "ReplicaSet", "r"), "", false},
	{"of a Job", owned("batch/v1", "Job", "j"), "", false},
	{"succeeded", nil, "Succeeded", false},
	{"failed, with an emptyDir", scratch(nil), "Failed", false},
	{"of a DaemonSet", owned("apps/v1", "DaemonSet", "agent"), "", false},
	{"of a DaemonSet, with an emptyDir", scratch(owned("apps/v1", "DaemonSet", "agent")), "", false},
	{"of a DaemonSet, failed", owned("apps/v1", "DaemonSet", "agent"), "Failed", false},
	{"of a DaemonSet that is gone, succeeded", owned("apps/v1", "DaemonSet", "gone"), "Succeeded", false},
	{"static", static, "", false},
	{"static, failed", static, "Failed", false},
	{"of a DaemonSet that is gone", owned("apps/v1", "DaemonSet", "gone"), "", true},
	{"of a DaemonSet that is gone, with an emptyDir", scratch(owned("apps/v1", "DaemonSet", "gone")), "", true},
	{"with an emptyDir", scratch(owned("apps/v1", "ReplicaSet", "r")), "", true},
	{"unmanaged", nil, "", true},
	{"unmanaged, with an emptyDir", scratch(nil), "", true},
	{"with an owner that does not control it", loose, "", true},
}

// asKubectl: of two Nodes with the same pods, one drained by kubectl and one here, the same pods are gone, or both
// refuse. One pod that may always go is beside each, so a refusal shows that none goes.
func asKubectl(t *testing.T, w *world) {
	var rows, same atomic.Int32
	t.Run("rows", func(t *testing.T) {
		for _, k := range kinds {
			for _, allowed := range [][]string{nil, {"emptyDir"}, {"unmanaged"}, {"emptyDir", "unmanaged"}} {
				if !k.flags && allowed != nil {
					continue
				}
				rows.Add(1)
				t.Run(fmt.Sprintf("%s, allowed %v", k.name, allowed), func(t *testing.T) {
					t.Parallel()
					w.row(t, k, allowed)
					same.Add(1)
				})
			}
		}
	})
	t.Logf("judge: rows=%d same=%d wrong=%d", rows.Load(), same.Load(), rows.Load()-same.Load())
}

func (w *world) row(t *testing.T, k kind, allowed []string) {
	group, names := w.node(t, 2)
	require.NoError(t, w.Call(http.MethodPost, "/apis/apps/v1/namespaces/"+group+"/daemonsets",
		object1("apps/v1", "DaemonSet", "agent", map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "agent"}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "agent"}},
				"spec": map[string]any{"nodeSelector": map[string]any{"nowhere": "yes"},
					"containers": []any{map[string]any{"name": "c", "image": "x"}}}}}), nil))
	for i, name := range names {
		w.made(t, group, fmt.Sprintf("pod-%d", i), name, k.more, k.phase)
		w.made(t, group, fmt.Sprintf("other-%d", i), name, owned("apps/v1", "ReplicaSet", "r"), "")
	}
	args := []string{"drain", names[0], "--ignore-daemonsets", "--timeout=1m"}
	token := real.Token(real.NodeUser(names[1]))
	if slices.Contains(allowed, "emptyDir") {
		args = append(args, "--delete-emptydir-data")
	}
	if slices.Contains(allowed, "unmanaged") {
		args = append(args, "--force")
	}
	if k.flags {
		token = w.account // a kubelet may not ask for DaemonSets
	}
	said, theirs := w.Kubectl("", args...)
	n := w.as(t, names[1], token)
	n.config.EmptyDir, n.config.Unmanaged = slices.Contains(allowed, "emptyDir"), slices.Contains(allowed, "unmanaged")
	ours := n.Drain(within(t, time.Minute), nil)
	left := [][]string{w.on(t, names[0]), w.on(t, names[1])}
	for _, pods := range left {
		for i := range pods {
			pods[i] = pods[i][:len(pods[i])-2]
		}
	}
	require.Equal(t, left[0], left[1], "%s\nours: %v", said, ours)
	require.Equal(t, theirs == nil, ours == nil, "%s\nours: %v", said, ours)
	require.Equal(t, theirs != nil, slices.Contains(left[0], "other"), "if one must not go, none goes")
}
