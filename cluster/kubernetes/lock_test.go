package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/lock"
)

// proxy stands before the API server, and has each nth request meet with something.
func (w *world) proxy(t *testing.T, nth int32, ill func(http.ResponseWriter, *http.Request, http.Handler)) string {
	t.Helper()
	pem, err := os.ReadFile(w.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	to, err := url.Parse(w.URL)
	require.NoError(t, err)
	next := httputil.NewSingleHostReverseProxy(to)
	next.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	var count atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if count.Add(1)%nth == 0 {
			ill(out, r, next)
			return
		}
		next.ServeHTTP(out, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// pool is a node's view of the pool workers, with the account of cluster/manifests.
func (w *world) pool(t *testing.T) (lock.Pool, *Node) {
	t.Helper()
	n := w.as(t, "w0", w.account)
	return lock.Pool{Store: n.Store("pawl", "workers", 1), Name: "workers", Pause: 10 * time.Millisecond}, n
}

// lockInLeases is the lock over the API server: at most one holds it, a holder that lost it learns so before it arms,
// an answer that is lost is known by what is there, and nobody without rights has it.
func lockInLeases(t *testing.T, w *world) {
	ctx := within(t, 2*time.Minute)
	var holds, at atomic.Int32
	var racing sync.WaitGroup
	for i := range 5 {
		p, _ := w.pool(t)
		racing.Go(func() {
			for n := range 6 {
				me := lock.Owner{Node: fmt.Sprintf("n%d", i), Attempt: fmt.Sprintf("a%d", n)}
				for p.Claim(ctx, me) != nil {
					if ctx.Err() != nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				if at.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				if err := p.Reach(ctx, me, lock.Down); err != nil {
					t.Error(err)
				}
				holds.Add(1)
				at.Add(-1)
				if err := p.Release(ctx, me); err != nil {
					t.Error(err)
				}
			}
		})
	}
	racing.Wait()
	require.EqualValues(t, 30, holds.Load())

	p, n := w.pool(t)
	one, two := lock.Owner{Node: "n1", Attempt: "a1"}, lock.Owner{Node: "n2", Attempt: "a2"}
	require.NoError(t, p.Claim(ctx, one))
	require.NoError(t, p.Reach(ctx, one, lock.Drained))
	stale, err := p.Slots(ctx)
	require.NoError(t, err)
	held := new(lock.HeldError)
	require.ErrorAs(t, p.Claim(ctx, two), &held)
	require.NoError(t, p.ByHand(ctx, stale[0], lock.Evidence{By: "somebody"}))
	require.NoError(t, p.Claim(ctx, two))
	require.ErrorIs(t, p.Reach(ctx, one, lock.Down), lock.ErrLost, "before it arms")
	require.ErrorIs(t, p.Store.Write(ctx, stale[0], lock.Record{}), lock.ErrMoved)
	again, _ := w.pool(t)
	require.NoError(t, again.Claim(ctx, two), "the process after the restart finds its own")
	require.NoError(t, again.Reach(ctx, two, lock.Down))
	seen, err := p.Slots(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, p.ByHand(ctx, seen[0], lock.Evidence{By: "somebody"}), lock.ErrStands)
	said, err := w.Kubectl("", "get", "lease", "workers-0", "--namespace", "pawl")
	require.NoError(t, err)
	require.Regexp(t, `workers-0 +n2 `, said, "kubectl shows who holds it")
	require.NoError(t, p.Release(ctx, two))

	lost, _ := w.pool(t)
	client := w.as(t, "w0", w.account)
	client.config.URL, client.client = w.proxy(t, 3, func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(discard{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}), http.DefaultClient
	lost.Store = client.Store("pawl", "workers", 1)
	require.NoError(t, lost.Claim(ctx, one), "every third answer is lost")
	require.NoError(t, lost.Reach(ctx, one, lock.Down))
	require.NoError(t, lost.Release(ctx, one))
	free, err := p.Slots(ctx)
	require.NoError(t, err)
	require.True(t, free[0].Record.Free())

	kubelet := w.kubelet(t, "w0")
	p.Store = kubelet.Store("pawl", "workers", 1)
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, p.Claim(short, one), "403", "a kubelet's credentials do not reach a Lease of the pool")
	p.Store = n.Store("pawl", "nowhere", 1)
	short, cancel = context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	require.Error(t, p.Claim(short, one))
}
