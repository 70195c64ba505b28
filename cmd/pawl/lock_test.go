package main

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// holding is a node that shares a lock. What a real one says is tested in the module cluster.
type holding struct {
	*fake
	held   []*pawlv1.LockSlot
	stands bool
	orders []*pawlv1.LockReleaseRequest
}

func (h *holding) LockList(context.Context, *pawlv1.LockListRequest) (*pawlv1.LockListResponse, error) {
	return &pawlv1.LockListResponse{Pool: "workers", Held: h.held}, nil
}

func (h *holding) LockRelease(_ context.Context, r *pawlv1.LockReleaseRequest) (*pawlv1.LockReleaseResponse, error) {
	h.orders = append(h.orders, r)
	if h.stands {
		return nil, kind(connect.CodeFailedPrecondition, "lock-stands", "the slot is not freed")
	}
	return &pawlv1.LockReleaseResponse{Released: h.held[0]}, nil
}

func TestWhoHoldsTheLockAndItsReleaseByHand(t *testing.T) {
	since := time.Date(2026, 11, 30, 1, 50, 11, 0, time.UTC)
	free := &holding{fake: &fake{}}
	held := &holding{fake: &fake{}, stands: true, held: []*pawlv1.LockSlot{{Index: 1, Version: "4711", Node: "3f1c",
		Attempt: "9b2e", Step: "down", Since: timestamppb.New(since), Seen: timestamppb.New(since.Add(3 * time.Second)),
		Address: "10.0.0.7:7717"}}}
	nodes := []string{served(t, held), served(t, free), served(t, &fake{})}
	code, out, errs := pawl(t, nodes, "lock", "list")
	require.Equal(t, exitUnreachable, code, "the third has no such call")
	const holder = "node 3f1c (attempt 9b2e), step down since 2026-11-30T01:50:11Z, last seen 2026-11-30T01:50:14Z; " +
		"pawl status --nodes 10.0.0.7:7717\n"
	require.Equal(t, "node1: pool workers, slot 1, version 4711: "+holder+"node2: pool workers: nobody holds it\n", out)
	require.Contains(t, errs, "node3")
	_, out, _ = pawl(t, nodes[:1], "lock", "list", "-o", "json")
	require.Contains(t, out, `"version":"4711"`)

	release := []string{"lock", "release", "--slot", "1", "--version", "4711"}
	code, _, errs = pawl(t, nodes[:1], release...)
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "the slot is not freed (--machine-is-off WHY says how you know that it is off)")
	held.stands = false
	code, out, errs = pawl(t, nodes[:1], append(release, "--machine-is-off", "it burnt")...)
	require.Zero(t, code, errs)
	require.Equal(t, "node1: slot 1 is free; it was held by "+holder, out)
	require.EqualValues(t, 1, held.orders[1].Index)
	require.Equal(t, "4711", held.orders[1].Version)
	require.Equal(t, "it burnt", held.orders[1].MachineIsOff)

	for _, line := range [][]string{{"lock"}, {"lock", "release"}, {"lock", "release", "--slot", "1"},
		{"lock", "release", "--version", "1"}, append(release, "now"), append(release, "--machine-is-off", "")} {
		code, _, errs = pawl(t, nodes[:1], line...)
		require.Equal(t, exitUsage, code, "%v: %s", line, errs)
	}
	code, _, errs = pawl(t, nodes[:2], release...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "through one node of the pool")
	require.Len(t, held.orders, 2)
}
