package cluster

import (
	"context"
	"errors"

	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/node"
)

// Shown is a pool as the node's API lists it and frees its slots by hand: node.Config.Lock. What may be freed is the
// decision of [lock.ByHand].
type Shown struct{ Pool lock.Pool }

// Slots implements node.Lock.
func (s Shown) Slots(ctx context.Context) (pool string, held []node.LockSlot, err error) {
	slots, err := s.Pool.Slots(ctx)
	for _, one := range slots {
		if r := one.Record; !r.Free() {
			held = append(held, node.LockSlot{Index: one.Index, Version: one.Version, Node: r.Node, Attempt: r.Attempt,
				Step: string(r.Step), Of: r.Of, Address: r.Address, What: r.What, Since: r.Since, Seen: r.Seen})
		}
	}
	return s.Pool.Name, held, err
}

// Release implements node.Lock.
func (s Shown) Release(ctx context.Context, r node.LockRelease) error {
	err := s.Pool.ByHand(ctx, lock.Slot{Index: r.Index, Version: r.Version},
		lock.Evidence{By: r.By, Over: r.Over, Off: r.Off})
	switch {
	case errors.Is(err, lock.ErrStands):
		return kindOf{err, node.ErrLockStands}
	case errors.Is(err, lock.ErrMoved):
		return kindOf{err, node.ErrLockMoved}
	}
	return err
}

// kindOf is an error with its own text that is also one of package node's.
type kindOf struct {
	error
	kind error
}

// Unwrap returns both.
func (k kindOf) Unwrap() []error { return []error{k.error, k.kind} }
