package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/internal/credentials"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/cluster/kubernetes"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// kubernetesPlaces are the phases of a node of Kubernetes alone, with its lock in a Lease.
var kubernetesPlaces = []string{
	"upgrade/prepare", "upgrade/lock", "upgrade/cordon", "upgrade/drain", "upgrade/leave", "upgrade/last", "upgrade/arm",
	"trial/checks", "settle/uncordon", "settle/unlock",
}

// fleet is the control plane of all cells, and the Node of the machine.
type fleet struct {
	*real.ControlPlane
	kubelets *real.Kubelets
	name     string
	account  string // token
}

// kubernetesFaults are what goes wrong, for two seconds.
var kubernetesFaults = map[string]func(*stage, *fleet){
	"its power is cut":      func(s *stage, _ *fleet) { s.cut() },
	"its service is killed": func(s *stage, _ *fleet) { s.kill() },
	"the API server restarts": func(s *stage, f *fleet) {
		f.API.Kill()
		s.later(func() { f.API.Start(); f.ControlPlane.Ready() })
	},
	"the API server is paused": func(s *stage, f *fleet) { f.API.Pause(); s.later(f.API.Continue) },
	"its kubelet does nothing": func(s *stage, f *fleet) {
		f.kubelets.Dead(f.name, true)
		s.later(func() { f.kubelets.Dead(f.name, false) })
	},
	"a budget never allows": func(s *stage, f *fleet) {
		const path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
		if err := f.Call(http.MethodPost, path, map[string]any{"metadata": map[string]any{"name": "all"},
			"spec": map[string]any{"minAvailable": 2,
				"selector": map[string]any{"matchLabels": map[string]any{"app": "web"}}}}, nil); err != nil {
			s.t.Error(err)
		}
		s.t.Cleanup(func() { _ = f.Call(http.MethodDelete, path+"/all", nil, nil) })
	},
	"an administrator cordons and uncordons": func(s *stage, f *fleet) {
		f.cordon(s, true)
		s.later(func() { f.cordon(s, false) })
	},
	"an administrator uncordons": func(s *stage, f *fleet) { f.cordon(s, false) },
	"a person frees its slot":    func(s *stage, _ *fleet) { s.free() },
}

func (f *fleet) cordon(s *stage, on bool) {
	if err := f.Call(http.MethodPatch, "/api/v1/nodes/"+f.name,
		map[string]any{"spec": map[string]any{"unschedulable": on}}, nil); err != nil {
		s.t.Error(err)
	}
}

// open is the Node, as a user's token has it.
func (f *fleet) open(t *testing.T, token, bootID string) *kubernetes.Node {
	t.Helper()
	tls, err := credentials.Client(f.CA, "", "")
	require.NoError(t, err)
	n, err := kubernetes.Open(kubernetes.Config{URL: f.URL, TLS: tls, Node: f.name, BootID: bootID,
		TokenFile: f.TokenFile(token), Pause: 100 * time.Millisecond, Try: time.Second})
	require.NoError(t, err)
	return n
}

// look is the Node as it is.
func (f *fleet) look() (cordoned bool, by, condition string, err error) {
	var o struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct{ Unschedulable bool }
		Status   struct {
			Conditions []struct{ Type, Status string }
		}
	}
	err = f.Call(http.MethodGet, "/api/v1/nodes/"+f.name, nil, &o)
	for _, c := range o.Status.Conditions {
		if c.Type == "PawlUpgrade" {
			condition = c.Status
		}
	}
	return o.Spec.Unschedulable, o.Metadata.Annotations["pawl-os.org/cordoned-by"], condition, err
}

func (f *fleet) stage(t *testing.T, from installed) *stage {
	t.Helper()
	pool := func() lock.Pool {
		return lock.Pool{Store: f.open(t, f.account, "").Store("pawl", "workers", 1), Name: "workers", Try: time.Second,
			Pause: 100 * time.Millisecond}
	}
	s := &stage{pool: pool(), others: pool()}
	s.machine = newMachine(t, from, cluster.Config{Node: "n1", Lock: s.pool, Wait: 20 * time.Second,
		Drain: 5 * time.Second})
	s.whole = func(context.Context) error { return nil }
	f.join(s)
	return s
}

// join has a machine be a node of the cluster: what it does without, and what it is to be, comes on top of the rest.
func (f *fleet) join(s *stage) {
	f.Node(f.name, "boot-0", "")
	for i := range 2 {
		_ = f.Call(http.MethodPost, "/api/v1/namespaces/default/pods", map[string]any{
			"metadata": map[string]any{"name": fmt.Sprint("web-", i), "labels": map[string]any{"app": "web"},
				"ownerReferences": []any{map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r",
					"uid": "u", "controller": true}}},
			"spec": map[string]any{"nodeName": f.name,
				"containers": []any{map[string]any{"name": "c", "image": "x"}}}}, nil) // or the cell before has left it
	}
	s.by = func() string {
		for {
			if _, by, _, err := f.look(); err == nil {
				return by
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	rest := s.whole
	s.whole = func(ctx context.Context) error {
		if on, by, condition, err := f.look(); err != nil || on || by != "" || condition == "True" {
			return fmt.Errorf("cordoned %v by %q, condition %q, %w", on, by, condition, err)
		}
		return rest(ctx)
	}
	works := map[string]cluster.Work{}
	s.works = func(bootID string) cluster.Work {
		s.after.Go(func() { // its kubelet tells of the boot, once it can
			for f.Tell(f.name, bootID, "") != nil && s.t.Context().Err() == nil {
				time.Sleep(100 * time.Millisecond)
			}
		})
		if works[bootID] == nil {
			works[bootID] = f.open(s.t, real.Token(real.NodeUser(f.name)), bootID)
		}
		return works[bootID]
	}
}

// newFleet has the node's right to speak of its lock as the manifest gives it.
func newFleet(t *testing.T) *fleet {
	f := &fleet{ControlPlane: real.Kubernetes(t), name: real.NodeName(0)}
	f.kubelets = f.Kubelets()
	manifest, err := os.ReadFile("manifests/node.yaml")
	require.NoError(t, err)
	f.Apply(string(manifest))
	token, err := f.Kubectl("", "create", "token", "pawl", "--namespace", "pawl")
	require.NoError(t, err)
	f.account = strings.TrimSpace(token)
	return f
}

// TestKubernetesFaultsInEveryPhase is TestFaultsInEveryPhase for a node of Kubernetes: its work and its lock are there.
// Then for one that is a member of etcd, too, where its lock is.
func TestKubernetesFaultsInEveryPhase(t *testing.T) {
	from := install(t)
	var fleets []*fleet
	g := newGrid(1, func() *fleet {
		fleets = append(fleets, newFleet(t))
		return fleets[len(fleets)-1]
	})
	g.run(t, func(t *testing.T) {
		for i, place := range kubernetesPlaces {
			for name, fault := range kubernetesFaults {
				short := name == "its power is cut" && i%4 == 2 || name == "the API server restarts" && i == 4
				if !long && !short {
					continue
				}
				g.cell(t, strings.ReplaceAll(place, "/", " ")+": "+name, func(t *testing.T, f *fleet) attempt.Attempt {
					s := f.stage(t, from)
					s.wrong = name == "a person frees its slot"
					return s.run(place, true, from.two, func(s *stage) { fault(s, f) })
				})
			}
		}
	})
	t.Run("a member of etcd, too", func(t *testing.T) {
		both(t, from, fleets)
	})
}
