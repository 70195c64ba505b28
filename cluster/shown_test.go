package cluster_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/client"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// A person frees slots by the API of a node, whose certificate of etcd is the node's affair.
func TestAPersonSeesWhoHoldsAPoolAndFreesItThroughANode(t *testing.T) {
	from := install(t)
	members := real.Members(t, 1)
	c, err := etcd.Open(etcd.Config{Endpoints: real.URLs(members)})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	store, err := c.Store("workers")
	require.NoError(t, err)
	p := lock.Pool{Store: store, Name: "workers", Address: "10.0.0.7:7717"}

	m := newMachine(t, from, cluster.Config{Node: "n1"})
	m.lock = cluster.Shown{Pool: p}
	require.NoError(t, m.on())
	t.Cleanup(m.off)
	require.NoError(t, m.upgrade(t.Context(), from.two, true))
	attempt := m.settled()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := api.Listen(t.Context(), "unix:"+socket, false)
	require.NoError(t, err)
	go func() { _ = api.New(m.server(), api.Options{}).Serve(t.Context(), l) }()
	node, err := client.Open("unix:"+socket, client.Options{})
	require.NoError(t, err)

	list := func(o lock.Owner) *pawlv1.LockSlot {
		t.Helper()
		require.NoError(t, p.Claim(t.Context(), o))
		require.NoError(t, p.Reach(t.Context(), o, lock.Down))
		w, err := node.LockList(t.Context())
		require.NoError(t, err)
		require.Equal(t, "workers", w.Pool)
		require.Len(t, w.Held, 1)
		require.Equal(t, o, lock.Owner{Node: w.Held[0].Node, Attempt: w.Held[0].Attempt})
		require.Equal(t, "down", w.Held[0].Step)
		require.Equal(t, "10.0.0.7:7717", w.Held[0].Address)
		require.WithinDuration(t, time.Now(), w.Held[0].Since.AsTime(), time.Minute)
		return w.Held[0]
	}
	empty, err := node.LockList(t.Context())
	require.NoError(t, err)
	require.Empty(t, empty.Held)
	release := func(s *pawlv1.LockSlot, off string) error {
		_, err := node.LockRelease(t.Context(), &pawlv1.LockReleaseRequest{Index: s.Index, Version: s.Version,
			MachineIsOff: off})
		return err
	}

	other := list(lock.Owner{Node: "n2", Attempt: "a1"})
	err = release(other, "")
	require.Equal(t, "lock-stands", client.ErrorKind(err), "a word alone is not enough: %v", err)
	require.ErrorContains(t, err, "is held by node n2 (attempt a1), step down")
	moved := &pawlv1.LockSlot{Index: 0, Version: other.Version + "0"}
	require.Equal(t, "lock-moved", client.ErrorKind(release(moved, "it burnt")))
	require.NoError(t, release(other, "it burnt"))
	require.Equal(t, "lock-moved", client.ErrorKind(release(other, "it burnt")), "it is free")

	// What this node's own attempt holds under an id that the node had before: it says itself that this is over.
	require.NoError(t, release(list(lock.Owner{Node: "n0", Attempt: attempt.ID}), ""))
	slots, err := p.Slots(t.Context())
	require.NoError(t, err)
	require.Empty(t, slots)
}
