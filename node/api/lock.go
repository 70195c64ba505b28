package api

import (
	"cmp"
	"context"
	"math"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

// LockList tells of a lock that is somewhere else, so it does not wait for the boot to be recorded.
func (v service) LockList(ctx context.Context, _ *pawlv1.LockListRequest) (*pawlv1.LockListResponse, error) {
	pool, held, err := v.s.LockSlots(ctx)
	if err != nil {
		return nil, wireError(err)
	}
	return wireLock(pool, held), nil
}

func wireLock(pool string, held []node.LockSlot) *pawlv1.LockListResponse {
	w := &pawlv1.LockListResponse{Pool: pool}
	for _, s := range held {
		w.Held = append(w.Held, wireSlotOfLock(s))
	}
	return w
}

func wireSlotOfLock(s node.LockSlot) *pawlv1.LockSlot {
	return &pawlv1.LockSlot{Index: uint32(s.Index), Version: s.Version, Node: s.Node, Attempt: s.Attempt, Step: s.Step,
		Of: uint32(s.Of), Address: s.Address, What: s.What, Since: wireTime(s.Since), Seen: wireTime(s.Seen)}
}

func (v service) LockRelease(ctx context.Context, r *pawlv1.LockReleaseRequest) (*pawlv1.LockReleaseResponse, error) {
	do := func(ctx context.Context) (node.LockSlot, error) {
		order := goLockRelease(r)
		who := access.CallerOf(ctx) // a name that a caller gives himself would be worth nothing
		order.By = cmp.Or(who.Name, who.From)
		return v.s.LockRelease(ctx, order)
	}
	return recorded(ctx, v, do, func(s node.LockSlot) *pawlv1.LockReleaseResponse {
		return &pawlv1.LockReleaseResponse{Released: wireSlotOfLock(s)}
	})
}

func goLockRelease(r *pawlv1.LockReleaseRequest) node.LockRelease {
	return node.LockRelease{Index: int(min(r.Index, math.MaxInt32)), Version: r.Version, Off: r.MachineIsOff}
}
