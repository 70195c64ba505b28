package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/node"
)

// server is a stand-in for the API server: a Node, its pods, Leases; merge patches that keep to a resource version;
// evictions that a budget refuses. It says no to what a node's own credentials may not do.
type server struct {
	t  *testing.T
	mu sync.Mutex

	version int
	node    map[string]any
	leases  map[string]map[string]any
	pods    map[string]map[string]any // by name
	budget  int                       // evictions that are refused before one is allowed; negative: all
	ill     int                       // answers that are an error of its own
	asked   map[string]int            // evictions, by name
	events  []string
	refused string // a request that a node must not make
}

func newServer(t *testing.T) (*server, *Node) {
	s := &server{t: t, version: 7, asked: map[string]int{}, pods: map[string]map[string]any{},
		leases: map[string]map[string]any{}}
	s.node = parsed(t,
		`{"metadata":{"uid":"u1","resourceVersion":"1","annotations":{"other":"kept"}},"spec":{"podCIDR":"10.0.0.0/24"},
		"status":{"nodeInfo":{"bootID":"b1"},"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}]}}`)
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	n, err := Open(Config{URL: listener.URL + "/", Node: "w1", BootID: "b1", Pause: time.Millisecond, Try: time.Second})
	require.NoError(t, err)
	return s, n
}

func parsed(t *testing.T, text string) (o map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &o))
	return o
}

func (s *server) pod(name, more string) {
	s.pods[name] = parsed(s.t, fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"default","uid":"uid-%s"%s}`, name,
		name, more))
}

const (
	replicas = `,"ownerReferences":[{"kind":"ReplicaSet","name":"r","controller":true}]}`
	daemon   = `,"ownerReferences":[{"kind":"DaemonSet","name":"d","controller":true}]}`
)

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ill > 0 {
		s.ill--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	fail := func(code int, message, cause string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","message":%q,"details":{"causes":[{"reason":%q}]}}`, message, cause)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last := parts[len(parts)-1]
	switch {
	case r.URL.Path == "/api/v1/nodes/w1" && s.node == nil, parts[len(parts)-2] == "leases" && s.leases[last] == nil:
		fail(http.StatusNotFound, "not found", "")
	case r.URL.Path == "/api/v1/nodes/w1":
		s.object(w, r, s.node)
	case r.URL.Path == "/api/v1/nodes/w1/status" && r.Method == http.MethodPatch && s.node != nil:
		require.Equal(s.t, strategic, r.Header.Get("Content-Type"))
	case strings.Contains(r.URL.Path, "/daemonsets/") && r.Method == http.MethodGet:
		fail(http.StatusForbidden, "a node may not", "")
	case parts[len(parts)-2] == "leases":
		s.object(w, r, s.leases[last])
	case r.URL.Path == "/api/v1/pods" && r.URL.Query().Get("fieldSelector") == "spec.nodeName=w1":
		items := []any{}
		for _, p := range s.pods {
			items = append(items, p)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
	case r.URL.Path == "/api/v1/namespaces/default/events" && r.Method == http.MethodPost:
		var e struct {
			Reason         string
			InvolvedObject struct{ Kind, Name string }
		}
		require.NoError(s.t, json.NewDecoder(r.Body).Decode(&e))
		require.Equal(s.t, "Node w1", e.InvolvedObject.Kind+" "+e.InvolvedObject.Name)
		s.events = append(s.events, e.Reason)
		w.WriteHeader(http.StatusCreated)
	case last == "eviction" && r.Method == http.MethodPost:
		name := parts[len(parts)-2]
		s.asked[name]++
		var e struct {
			DeleteOptions struct{ Preconditions struct{ UID string } }
		}
		require.NoError(s.t, json.NewDecoder(r.Body).Decode(&e))
		switch {
		case s.pods[name] == nil:
			fail(http.StatusNotFound, "not found", "")
		case e.DeleteOptions.Preconditions.UID != "uid-"+name:
			fail(http.StatusConflict, "the UID is another", "")
		case s.budget != 0:
			s.budget--
			fail(http.StatusTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.",
				"DisruptionBudget")
		default:
			delete(s.pods, name)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"kind":"Status"}`)
		}
	case r.Method == http.MethodDelete && s.pods[last] != nil:
		var o struct{ Preconditions struct{ UID string } }
		require.NoError(s.t, json.NewDecoder(r.Body).Decode(&o))
		require.Equal(s.t, "uid-"+last, o.Preconditions.UID)
		delete(s.pods, last)
	default:
		s.refused = r.Method + " " + r.URL.String()
		fail(http.StatusForbidden, "forbidden", "")
	}
}

// object reads or patches one.
func (s *server) object(w http.ResponseWriter, r *http.Request, o map[string]any) {
	if r.Method == http.MethodPatch {
		require.Equal(s.t, merge, r.Header.Get("Content-Type"))
		var patch map[string]any
		require.NoError(s.t, json.NewDecoder(r.Body).Decode(&patch))
		if patch["metadata"].(map[string]any)["resourceVersion"] != o["metadata"].(map[string]any)["resourceVersion"] {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"kind":"Status","message":"the object has been modified"}`)
			return
		}
		apply(o, patch)
		s.version++
		o["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(s.version)
	}
	_ = json.NewEncoder(w).Encode(o)
}

// apply is a merge patch, as RFC 7396 has it.
func apply(o, patch map[string]any) {
	for k, v := range patch {
		sub, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(o, k)
		case isMap:
			if _, ok := o[k].(map[string]any); !ok {
				o[k] = map[string]any{}
			}
			apply(o[k].(map[string]any), sub)
		default:
			o[k] = v
		}
	}
}

func (s *server) state() (cordoned bool, by any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	annotations := s.node["metadata"].(map[string]any)["annotations"].(map[string]any)
	require.Equal(s.t, "kept", annotations["other"])
	_, cordoned = s.node["spec"].(map[string]any)["unschedulable"]
	return cordoned, annotations[cordonedBy]
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOnlyWhatWasCordonedHereIsUncordoned(t *testing.T) {
	s, n := newServer(t)
	ctx := within(t, 10*time.Second)
	s.ill = 2
	require.NoError(t, n.Cordon(ctx, "a1"))
	require.NoError(t, n.Cordon(ctx, "a1"), "again, after an answer that was lost")
	require.NoError(t, n.Cordon(ctx, "a2"), "what an earlier attempt left is this one's")
	cordoned, by := s.state()
	require.True(t, cordoned)
	require.Equal(t, "a2", by)
	s.ill = 1
	require.NoError(t, n.Uncordon(ctx, "a2", "done"))
	require.NoError(t, n.Uncordon(ctx, "a2", "done"))
	cordoned, by = s.state()
	require.False(t, cordoned)
	require.Nil(t, by)

	require.Equal(t, []string{"PawlCordoned", "PawlCordoned", "PawlUncordoned"}, s.events)

	s.node["spec"].(map[string]any)["unschedulable"] = true // by an administrator
	require.ErrorIs(t, n.Cordon(ctx, "a3"), node.ErrAlready)
	require.NoError(t, n.Uncordon(ctx, "a3", "done"))
	cordoned, _ = s.state()
	require.True(t, cordoned, "it stays as the administrator has it")

	s.node = nil
	require.NoError(t, n.Uncordon(ctx, "a3", "done"), "a Node that is gone needs nothing")
	require.ErrorContains(t, n.Cordon(ctx, "a3"), "404")
}

func TestAnApiServerThatIsAwayIsTriedUntilTheEnd(t *testing.T) {
	s, n := newServer(t)
	s.ill = 1 << 30
	require.ErrorContains(t, n.Cordon(within(t, 300*time.Millisecond), "a1"),
		"cordon node w1: the API server answers 500")
	require.ErrorContains(t, n.Drain(within(t, 300*time.Millisecond), nil), "500")
}

func TestADrainKeepsToTheRulesOfKubectl(t *testing.T) {
	s, n := newServer(t)
	s.pod("web", replicas)
	s.pod("done", `},"status":{"phase":"Succeeded"}`)
	s.pod("agent", daemon)
	s.pod("static", `,"annotations":{"kubernetes.io/config.mirror":"x"}}`)
	s.budget = 3
	var told []string
	require.NoError(t, n.Drain(within(t, 10*time.Second), func(text string) { told = append(told, text) }))
	require.Len(t, s.pods, 2, "what the kubelet or a DaemonSet keeps there stays")
	require.Contains(t, strings.Join(told, "\n"), "disruption budget")
	require.Empty(t, s.refused)
	require.Zero(t, s.asked["agent"]+s.asked["static"])

	for says, more := range map[string]string{
		"nobody would make it anew": `}`,
		"has an emptyDir volume":    replicas + `,"spec":{"volumes":[{"name":"v","emptyDir":{}}]}`,
	} {
		s.pod("web", replicas)
		s.pod("special", more)
		s.asked = map[string]int{}
		require.ErrorContains(t, n.Drain(within(t, 10*time.Second), nil), "default/special: ")
		require.ErrorContains(t, n.Drain(within(t, 10*time.Second), nil), says)
		require.Empty(t, s.asked, "then nothing is evicted")
	}
	n.config.EmptyDir, n.config.Unmanaged = true, true
	require.NoError(t, n.Drain(within(t, 10*time.Second), nil))
	require.Len(t, s.pods, 2)
}

func TestADrainThatABudgetNeverAllowsEndsWithItsTime(t *testing.T) {
	s, n := newServer(t)
	n.config.Pause = 20 * time.Millisecond
	s.pod("web", replicas)
	s.budget = -1
	err := n.Drain(within(t, 200*time.Millisecond), nil)
	require.ErrorContains(t, err, "drain node w1: 1 pods are left: default/web: Cannot evict")
	require.Equal(t, []string{"PawlDraining", "PawlDrainFailed"}, s.events)
	require.LessOrEqual(t, s.asked["web"], 11, "with a pause between the tries")
	require.Len(t, s.pods, 3-2)
}

func TestADrainThatIsForcedDeletesWhatItsTimeLeft(t *testing.T) {
	s, n := newServer(t)
	n.config.Evict = 30 * time.Millisecond
	s.pod("web", replicas)
	s.pod("agent", daemon)
	s.budget = -1
	require.NoError(t, n.Drain(within(t, 10*time.Second), nil))
	require.NotZero(t, s.asked["web"], "evictions are asked for first")
	require.Len(t, s.pods, 1, "what a DaemonSet keeps there stays")
	require.Equal(t, []string{"PawlDraining", "PawlDrainForced", "PawlDrained"}, s.events)

	s.pod("special", `}`)
	require.ErrorContains(t, n.Drain(within(t, 10*time.Second), nil), "nobody would make it anew")
	require.Empty(t, s.refused)
}

func TestANodeIsReadyOnlyAsThisBootTells(t *testing.T) {
	s, n := newServer(t)
	require.NoError(t, n.Ready(t.Context()))
	n.config.BootID = "b2"
	require.ErrorContains(t, n.Ready(t.Context()), "has told nothing since it restarted")
	n.config.BootID = "b1"
	s.node["status"] = parsed(t,
		`{"nodeInfo":{"bootID":"b1"},"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"no network"}]}`)
	require.ErrorContains(t, n.Ready(t.Context()), "no network")
}

func TestALockInLeases(t *testing.T) {
	s, n := newServer(t)
	p := lock.Pool{Store: n.Store("pawl", "workers", 1), Name: "workers", Pause: time.Millisecond}
	one, two := lock.Owner{Node: "n1", Attempt: "a1"}, lock.Owner{Node: "n2", Attempt: "a2"}
	require.ErrorContains(t, p.Claim(within(t, 20*time.Millisecond), one), "it has to be made")
	s.leases["workers-0"] = parsed(t, `{"metadata":{"resourceVersion":"3"},"spec":{}}`)
	ctx := within(t, 10*time.Second)
	s.ill = 1
	require.NoError(t, p.Claim(ctx, one))
	require.Equal(t, "n1", s.leases["workers-0"]["spec"].(map[string]any)["holderIdentity"])
	held := new(lock.HeldError)
	require.ErrorAs(t, p.Claim(ctx, two), &held)
	require.NoError(t, p.Reach(ctx, one, lock.Drained))
	slots, err := p.Slots(ctx)
	require.NoError(t, err)
	require.NoError(t, p.ByHand(ctx, slots[0], lock.Evidence{By: "somebody"}))
	require.NoError(t, p.Claim(ctx, two))
	require.ErrorIs(t, p.Reach(ctx, one, lock.Down), lock.ErrLost)
	require.ErrorIs(t, p.Store.Write(ctx, slots[0], slots[0].Record), lock.ErrMoved)
	require.NoError(t, p.Release(ctx, two))
	require.NotContains(t, s.leases["workers-0"]["spec"], "holderIdentity")
	require.Empty(t, s.refused)
}
