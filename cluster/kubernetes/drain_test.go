package kubernetes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/internal/real"
)

// budgetHolds: never fewer are available than a budget says, and the drain comes to its end.
func budgetHolds(t *testing.T, w *world) {
	group, names := w.node(t, 2)
	_, err := w.Kubectl("", "cordon", names[1])
	require.NoError(t, err)
	w.replicas(t, group, 3, map[string]any{real.Lingers: "300ms"})
	w.budget(t, group, "web", 2)
	require.Len(t, w.on(t, names[0]), 3)
	_, err = w.Kubectl("", "uncordon", names[1])
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	least, watched := 3, make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			if n := w.ready(group); n >= 0 {
				least = min(least, n)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	n := w.kubelet(t, names[0])
	require.NoError(t, n.Cordon(ctx, "a1"))
	var told []string
	require.NoError(t, n.Drain(within(t, time.Minute), func(text string) { told = append(told, text) }))
	stop()
	<-watched
	require.Empty(t, w.on(t, names[0]))
	require.Equal(t, 2, least, told)
	require.Contains(t, strings.Join(told, "\n"), "Cannot evict pod as it would violate the pod's disruption budget")
}

// budgetThatNeverAllows: the drain ends with its time and all is undone; or, by order, what is left is deleted.
func budgetThatNeverAllows(t *testing.T, w *world) {
	group, names := w.node(t, 1)
	w.replicas(t, group, 2, nil)
	w.budget(t, group, "web", "100%")
	n, ctx := w.kubelet(t, names[0]), within(t, time.Minute)
	require.NoError(t, n.Cordon(ctx, "a1"))
	took, err := drained(within(t, 2*time.Second), n)
	require.ErrorContains(t, err, "2 pods are left: "+group+"/web-")
	require.ErrorContains(t, err, "disruption budget")
	require.Less(t, took, 2*time.Second+tellTime)
	require.Len(t, w.on(t, names[0]), 2)
	said, err := w.Kubectl("", "describe", "node", names[0])
	require.NoError(t, err)
	require.Regexp(t, `(?m)^ *PawlUpgrade +True .* PawlDrainFailed +2 pods are left: `, said)
	require.NoError(t, n.Uncordon(ctx, "a1", "the upgrade is given up"))
	on, by := w.cordoned(t, names[0])
	require.False(t, on)
	require.Empty(t, by)

	require.NoError(t, n.Cordon(ctx, "a2"))
	n.config.Evict = time.Second
	require.NoError(t, n.Drain(ctx, nil))
	require.Empty(t, w.on(t, names[0]))
	said, err = w.Kubectl("", "describe", "node", names[0])
	require.NoError(t, err)
	require.Contains(t, said, "PawlDrainForced")
}

// twoBudgets: the API server answers 500 then, for ever.
func twoBudgets(t *testing.T, w *world) {
	group, names := w.node(t, 1)
	w.replicas(t, group, 1, nil)
	w.budget(t, group, "one", 0)
	w.budget(t, group, "two", 0)
	n := w.kubelet(t, names[0])
	require.NoError(t, n.Cordon(t.Context(), "a1"), "or the pod that follows comes to the same Node")
	_, err := drained(within(t, time.Second), n)
	require.ErrorContains(t, err, "500")
	require.ErrorContains(t, err, "more than one PodDisruptionBudget")
	require.NoError(t, w.Call(http.MethodDelete, "/apis/policy/v1/namespaces/"+group+"/poddisruptionbudgets/two", nil,
		nil))
	require.NoError(t, n.Drain(within(t, time.Minute), nil))
}

// sameName: a pod that was made anew elsewhere under the name of one that was looked at is none of ours.
func sameName(t *testing.T, w *world) {
	group, names := w.node(t, 1)
	w.made(t, group, "db-0", names[0], owned("apps/v1", "StatefulSet", "db"), "")
	n, ctx := w.as(t, names[0], w.account), within(t, time.Minute)
	seen, err := n.pods(ctx)
	require.NoError(t, err)
	require.Len(t, seen, 1)
	_, err = w.Kubectl("", "delete", "pod", "db-0", "--namespace", group)
	require.NoError(t, err)
	w.made(t, group, "db-0", names[0], owned("apps/v1", "StatefulSet", "db"), "")
	require.ErrorContains(t, n.evict(ctx, seen[0]), "409")
	n = w.kubelet(t, names[0])
	require.ErrorContains(t, n.remove(ctx, seen[0]), "409")
	require.Equal(t, []string{"db-0"}, w.on(t, names[0]))
}

// endsLate: a drain waits for what a pod takes to end, by its preStop or its grace period.
func endsLate(t *testing.T, w *world) {
	group, names := w.node(t, 1)
	w.made(t, group, "slow", names[0], func(m, _ map[string]any) {
		m["ownerReferences"] = owner("apps/v1", "ReplicaSet", "r")
		m["annotations"] = map[string]any{real.Lingers: "1500ms"}
	}, "")
	took, err := drained(within(t, time.Minute), w.kubelet(t, names[0]))
	require.NoError(t, err)
	require.Greater(t, took, 1500*time.Millisecond)
	require.Empty(t, w.on(t, names[0]))
}

// deadKubelet: pods that nobody ends are there at the end of the time, and the error says which.
func deadKubelet(t *testing.T, w *world) {
	group, names := w.node(t, 1)
	w.kubelets.Dead(names[0], true)
	w.made(t, group, "web", names[0], owned("apps/v1", "ReplicaSet", "r"), "")
	n := w.as(t, names[0], w.account)
	_, err := drained(within(t, time.Second), n)
	require.ErrorContains(t, err, "1 pods are left: "+group+"/web is ending")
	w.kubelets.Dead(names[0], false)
	require.NoError(t, n.Drain(within(t, time.Minute), nil))
}

// serverRestarts: in the middle of a drain, killed and started again; it costs a pause, and no error.
func serverRestarts(t *testing.T, w *world) {
	group, names := w.node(t, 2)
	_, err := w.Kubectl("", "cordon", names[1])
	require.NoError(t, err)
	w.replicas(t, group, 4, map[string]any{real.Lingers: "1s"})
	w.budget(t, group, "web", 3)
	_, err = w.Kubectl("", "uncordon", names[1])
	require.NoError(t, err)
	n, ctx := w.kubelet(t, names[0]), within(t, 2*time.Minute)
	require.NoError(t, n.Cordon(ctx, "a1"))
	ended := make(chan error, 1)
	go func() { ended <- n.Drain(ctx, nil) }()
	require.Eventually(t, func() bool { return len(w.on(t, names[0])) < 4 }, time.Minute, 20*time.Millisecond)
	w.API.Kill()
	require.Error(t, n.Ready(ctx))
	time.Sleep(time.Second) // for requests to fail
	w.API.Start()
	w.ControlPlane.Ready()
	require.NoError(t, <-ended)
	require.Empty(t, w.on(t, names[0]))
	w.API.Kill()
	undone := make(chan error, 1)
	go func() { undone <- n.Uncordon(ctx, "a1", "done") }()
	time.Sleep(time.Second) // likewise
	w.API.Start()
	w.ControlPlane.Ready()
	require.NoError(t, <-undone)
	on, by := w.cordoned(t, names[0])
	require.False(t, on)
	require.Empty(t, by)
}

// illAnswers: whatever a proxy before the API server does to every third request, all that is asked for comes to be.
func illAnswers(t *testing.T, w *world) {
	for name, ill := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"too many": func(out http.ResponseWriter, _ *http.Request, _ http.Handler) {
			out.Header().Set("Retry-After", "1")
			out.WriteHeader(http.StatusTooManyRequests)
		},
		"broken": func(out http.ResponseWriter, _ *http.Request, _ http.Handler) {
			out.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(out, "<html>no upstream</html>")
		},
		"slow": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client is gone
			<-r.Context().Done()
		},
		"lost": func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler) // it happened, and nobody hears of it
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group, names := w.node(t, 1)
			w.replicas(t, group, 3, nil)
			p := w.proxy(t, 3, ill)
			n := w.kubelet(t, names[0])
			n.config.URL, n.config.TLS, n.config.Try, n.client = p, nil, 500*time.Millisecond, http.DefaultClient
			ctx := within(t, time.Minute)
			require.NoError(t, n.Cordon(ctx, "a1"))
			on, by := w.cordoned(t, names[0])
			require.True(t, on)
			require.Equal(t, "a1", by)
			require.NoError(t, n.Drain(ctx, nil))
			require.Empty(t, w.on(t, names[0]))
			require.NoError(t, n.Uncordon(ctx, "a1", "done"))
			on, by = w.cordoned(t, names[0])
			require.False(t, on)
			require.Empty(t, by)
			said, err := w.Kubectl("", "describe", "node", names[0])
			require.NoError(t, err)
			require.NotRegexp(t, `PawlUpgrade +True`, said)
		})
	}
}

// discard takes an answer that nobody hears of.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
