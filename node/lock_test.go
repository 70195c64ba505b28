package node

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/attempt"
)

// fakeLock is a lock whose decision a test gives.
type fakeLock struct {
	held   []LockSlot
	err    error
	orders []LockRelease
}

func (f *fakeLock) Slots(context.Context) (string, []LockSlot, error) { return "workers", f.held, nil }
func (f *fakeLock) Release(_ context.Context, r LockRelease) error {
	f.orders = append(f.orders, r)
	return f.err
}

func TestTheLockDecidesWhatIsReleased(t *testing.T) {
	l := &fakeLock{held: []LockSlot{{Index: 1, Version: "7", Node: "n1", Attempt: "a1", Step: "down"}}}
	s := newFake().server(t, Config{Lock: l})
	pool, held, err := s.LockSlots(t.Context())
	require.NoError(t, err)
	require.Equal(t, "workers", pool)
	require.Equal(t, l.held, held)

	l.err = ErrLockStands
	_, err = s.LockRelease(t.Context(), LockRelease{Index: 1, Version: "7", By: "ann", Over: true})
	require.ErrorIs(t, err, ErrLockStands)
	l.err = nil
	was, err := s.LockRelease(t.Context(), LockRelease{Index: 1, Version: "7", By: "ann", Off: "it burnt"})
	require.NoError(t, err)
	require.Equal(t, l.held[0], was)
	require.Equal(t, []LockRelease{{Index: 1, Version: "7", By: "ann"},
		{Index: 1, Version: "7", By: "ann", Off: "it burnt"}}, l.orders, "nobody says for the node that it is done")

	_, err = s.LockRelease(t.Context(), LockRelease{Index: 0, Version: "7", By: "ann"})
	require.ErrorIs(t, err, ErrLockMoved)
	for _, r := range []LockRelease{{Index: 1}, {Index: -1, Version: "7"}, {Version: strings.Repeat("7", 200)},
		{Version: "7", Off: "\xff"}, {Version: "7", Off: strings.Repeat("x", 600)}} {
		_, err = s.LockRelease(t.Context(), r)
		require.ErrorIs(t, err, ErrRequest)
	}
	require.Len(t, l.orders, 2)
}

func TestANodeWithoutALockSaysSo(t *testing.T) {
	s := newFake().server(t, Config{})
	_, _, err := s.LockSlots(t.Context())
	require.ErrorIs(t, err, ErrNoLock)
	_, err = s.LockRelease(t.Context(), LockRelease{Version: "7"})
	require.ErrorIs(t, err, ErrNoLock)
	require.Equal(t, "no-lock", ErrorKind(err))
}

// The node's word is taken for its own attempt alone, when that is over and undone.
func TestWhatOfANodesOwnAttemptIsOver(t *testing.T) {
	over := attempt.Attempt{ID: "a1", State: attempt.Ended, Result: attempt.Confirmed}
	for name, test := range map[string]struct {
		change func(*fake)
		want   bool
	}{
		"over":                  {func(*fake) {}, true},
		"another's":             {func(f *fake) { f.status.Attempt.ID = "a2" }, false},
		"none":                  {func(f *fake) { f.status.Attempt = nil }, false},
		"on trial":              {func(f *fake) { f.status.Attempt.State = attempt.Started }, false},
		"not undone":            {func(f *fake) { f.status.Attempt.Marks = []attempt.Mark{{Phase: "lock"}} }, false},
		"META cannot be read":   {func(f *fake) { f.status.Unread = errors.New("damaged") }, false},
		"nothing can be looked": {func(f *fake) { f.fail["status"] = errors.New("gone") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			a := over
			f.status.Attempt = &a
			test.change(f)
			l := &fakeLock{held: []LockSlot{{Version: "7", Attempt: "a1"}}}
			s := f.server(t, Config{Lock: l})
			_, err := s.LockRelease(t.Context(), LockRelease{Version: "7", By: "ann"})
			require.NoError(t, err)
			require.Equal(t, test.want, l.orders[0].Over)
		})
	}
}
