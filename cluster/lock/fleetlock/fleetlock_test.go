package fleetlock

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster/lock"
)

// server counts one slot a group, as the protocol says: recursive, owned, without a time.
type server struct {
	mu     sync.Mutex
	held   map[string]string // by group
	ill    int               // answers that are an error of the server's own
	lost   int               // answers that never come, to requests that were done
	failed bool              // somebody broke the protocol
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body struct {
		Params struct{ ID, Group string } `json:"client_params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost ||
		r.Header.Get("fleet-lock-protocol") != "true" {
		s.failed = true
	}
	if s.ill > 0 {
		s.ill--
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	id, group := body.Params.ID, body.Params.Group
	switch holder := s.held[group]; {
	case r.URL.Path == "/v1/pre-reboot" && (holder == "" || holder == id):
		s.held[group] = id
	case r.URL.Path == "/v1/pre-reboot":
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, `{"kind":"failed_lock","value":"semaphore currently full, all slots are locked already"}`)
		return
	case r.URL.Path == "/v1/steady-state":
		if holder == id {
			delete(s.held, group)
		}
	default:
		s.failed = true
	}
	if s.lost > 0 {
		s.lost--
		panic(http.ErrAbortHandler)
	}
}

func TestALockOverFleetLock(t *testing.T) {
	s := &server{held: map[string]string{}}
	listener := httptest.NewServer(s)
	defer listener.Close()
	l := Lock{URL: listener.URL + "/", Pause: time.Millisecond}
	ctx := t.Context()
	one, two := lock.Owner{Node: "n1", Attempt: "a1"}, lock.Owner{Node: "n2", Attempt: "a2"}
	require.NoError(t, l.Ask(ctx, one))
	s.ill, s.lost = 2, 1
	require.NoError(t, l.Claim(ctx, one))
	require.NoError(t, l.Claim(ctx, one), "again, after a restart")
	held := new(lock.HeldError)
	require.ErrorAs(t, l.Claim(ctx, two), &held)
	require.ErrorContains(t, held,
		`pool default has no free slot: the server answers 409 Conflict: "failed_lock": "semaphore`)
	for _, step := range []lock.Step{lock.Drained, lock.Down, lock.Back} {
		require.NoError(t, l.Reach(ctx, one, step))
		if step != lock.Down {
			require.NoError(t, l.Reach(ctx, two, step))
		} else {
			require.ErrorIs(t, l.Reach(ctx, two, step), lock.ErrLost)
		}
	}
	s.lost = 1
	require.NoError(t, l.Release(ctx, one))
	require.NoError(t, l.Release(ctx, one))
	require.NoError(t, l.Claim(ctx, two))
	other := l
	other.Group = "workers"
	require.NoError(t, other.Claim(ctx, one))
	require.False(t, s.failed)
	s.ill = 1 << 30
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, l.Release(short, two), "fleetlock: steady-state: the server answers 502")
}
