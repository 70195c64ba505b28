package real

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// Call makes one request as the administrator. body and into are JSON, or nil.
func (k *ControlPlane) Call(method, path string, body, into any) error {
	return k.call(method, path, "application/merge-patch+json", body, into)
}

func (k *ControlPlane) call(method, path, patch string, body, into any) error {
	if k.client == nil {
		pemBytes, err := os.ReadFile(k.CA)
		if err != nil {
			return err // the API server has not made it yet
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pemBytes)
		k.client = &http.Client{Timeout: 10 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, k.URL+path, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+Token(Admin))
	r.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", patch)
	}
	got, err := k.client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(got.Body, 64<<20))
	if err != nil {
		return err
	}
	if got.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.500s", method, path, got.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// Node makes a Node, or has its kubelet tell anew: of which boot, and that it is ready, or why it is not.
func (k *ControlPlane) Node(name, bootID, notReady string) {
	k.t.Helper()
	require.NoError(k.t, k.Tell(name, bootID, notReady))
}

// Tell is Node, for when the API server may be away.
func (k *ControlPlane) Tell(name, bootID, notReady string) error {
	_ = k.Call(http.MethodPost, "/api/v1/nodes", map[string]any{"metadata": map[string]any{"name": name}}, nil) // or it is
	now := time.Now().UTC().Format(time.RFC3339)
	ready := map[string]any{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it is",
		"lastHeartbeatTime": now, "lastTransitionTime": now}
	if notReady != "" {
		ready["status"], ready["reason"], ready["message"] = "False", "KubeletNotReady", notReady
	}
	return k.call(http.MethodPatch, "/api/v1/nodes/"+name+"/status",
		"application/strategic-merge-patch+json", map[string]any{"status": map[string]any{
			"conditions": []any{ready}, "nodeInfo": map[string]any{"bootID": bootID}}}, nil) // as a kubelet does it
}

// Ends is the annotation of a pod that does not run, but has ended: its phase.
const Ends = "pawl-os.org/test-ends"

// Lingers is the annotation of a pod that takes time to end: how long, as time.ParseDuration has it.
const Lingers = "pawl-os.org/test-lingers"

// Kubelets stand in for the scheduler and for the kubelets of all nodes: pods are bound to the first Node that is not
// cordoned, run and are ready at once, and end once they are to. Dead are nodes whose kubelet does nothing any more.
type Kubelets struct {
	k      *ControlPlane
	mu     sync.Mutex
	dead   map[string]bool
	ending map[string]time.Time // since when, by UID
}

// Kubelets has the stand-in run until the test ends.
func (k *ControlPlane) Kubelets() *Kubelets {
	s := &Kubelets{k: k, dead: map[string]bool{}, ending: map[string]time.Time{}}
	ctx, stop := context.WithCancel(context.Background())
	var going sync.WaitGroup
	going.Go(func() {
		for ctx.Err() == nil {
			s.round() // a server that is away is asked again
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	k.t.Cleanup(func() { stop(); going.Wait() })
	return s
}

// Dead has the kubelet of a node do nothing any more, or go on.
func (s *Kubelets) Dead(node string, dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[node] = dead
}

// IsDead reports whether the kubelet of a node does nothing any more.
func (s *Kubelets) IsDead(node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead[node]
}

// Pod is what is read of a Pod.
type Pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Annotations          map[string]string
		DeletionTimestamp    *string
	}
	Spec struct {
		NodeName     string
		NodeSelector map[string]string
	}
	Status struct {
		Phase      string
		Conditions []struct{ Type string }
	}
}

// Pods are all of a namespace; empty: of all.
func (k *ControlPlane) Pods(namespace string) ([]Pod, error) {
	path := "/api/v1/pods"
	if namespace != "" {
		path = "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods"
	}
	var list struct{ Items []Pod }
	err := k.Call(http.MethodGet, path, nil, &list)
	return list.Items, err
}

// round looks at all pods once.
func (s *Kubelets) round() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nodes struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Spec struct{ Unschedulable bool }
		}
	}
	pods, err := s.k.Pods("")
	if err != nil || s.k.Call(http.MethodGet, "/api/v1/nodes", nil, &nodes) != nil {
		return
	}
	for _, p := range pods {
		path := "/api/v1/namespaces/" + p.Metadata.Namespace + "/pods/" + p.Metadata.Name
		switch {
		case p.Spec.NodeName == "":
			for _, n := range nodes.Items {
				fits := !n.Spec.Unschedulable
				for key, value := range p.Spec.NodeSelector {
					fits = fits && n.Metadata.Labels[key] == value
				}
				if fits {
					_ = s.k.Call(http.MethodPost, path+"/binding", map[string]any{
						"metadata": map[string]any{"name": p.Metadata.Name},
						"target":   map[string]any{"kind": "Node", "name": n.Metadata.Name}}, nil)
					break
				}
			}
		case s.dead[p.Spec.NodeName]:
		case p.Metadata.DeletionTimestamp != nil:
			s.end(p, path)
		case p.Status.Phase == "Pending":
			s.status(path, cmp.Or(p.Metadata.Annotations[Ends], "Running"))
		}
	}
}

// end removes a pod that is to end, once it has taken its time.
func (s *Kubelets) end(p Pod, path string) {
	since, ok := s.ending[p.Metadata.UID]
	if !ok {
		since = time.Now()
		s.ending[p.Metadata.UID] = since
	}
	if d, _ := time.ParseDuration(p.Metadata.Annotations[Lingers]); time.Since(since) < d {
		return
	}
	_ = s.k.Call(http.MethodDelete, path, map[string]any{"gracePeriodSeconds": 0,
		"preconditions": map[string]any{"uid": p.Metadata.UID}}, nil)
}

func (s *Kubelets) status(path, phase string) {
	_ = s.k.Call(http.MethodPatch, path+"/status", map[string]any{"status": map[string]any{"phase": phase,
		"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}, nil)
}
