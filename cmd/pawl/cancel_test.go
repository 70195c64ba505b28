package main

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// An upgrade whose registry drips holds a node's queue; it is cancelled, and the node takes the next order.
func TestChainCancel(t *testing.T) {
	t.Parallel()
	l := newLab(t, "127.0.0.1:0")
	code, _, errs := l.order("cancel")
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "nothing")

	l.push(software{version: "2.0.0"})
	slow, err := testregistry.Serve("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = slow.Close() })
	built, err := l.layout.Find("v2.0.0")
	require.NoError(t, err)
	two := slow.Host() + "/os:2.0.0"
	_, err = l.layout.Push(t.Context(), built, two, pack.PushOptions{})
	require.NoError(t, err)
	drips := make(chan struct{})
	once := sync.OnceFunc(func() { close(drips) })
	slow.Fault(testregistry.Fault{Path: "/blobs/", Rate: 32 << 10, Sent: func(int64) { once() }})

	ended := make(chan string)
	go func() {
		_, _, errs := l.order("upgrade", "--image", two, "--wait")
		ended <- errs
	}()
	<-drips
	code, out, errs := l.order("cancel")
	require.Zero(t, code, errs)
	require.Contains(t, out, "node1: upgrade to "+two+" is cancelled\n")
	require.Contains(t, <-ended, "it was cancelled by hand")
	require.Equal(t, bootloader.None, l.status().Loader.Armed)
	require.Len(t, l.history(), 1)

	slow.Heal()
	code, _, errs = l.order("upgrade", "--image", two, "--wait")
	require.Zero(t, code, errs)
	require.Equal(t, []string{"1.0.0 in A", "2.0.0 in B on trial"}, l.history())
}
