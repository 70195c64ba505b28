package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/pawl-os/pawl/cluster/lock"
)

// consul stands for whatever an embedder keeps a lock in: a few values that can be compared and set.
type consul struct {
	slots map[int]lock.Slot
	index int
}

func (c *consul) Slots(context.Context) (all []lock.Slot, err error) {
	for _, s := range c.slots {
		all = append(all, s)
	}
	return all, nil
}

func (c *consul) Write(_ context.Context, at lock.Slot, to lock.Record) error {
	if c.slots[at.Index].Version != at.Version {
		return lock.ErrMoved
	}
	c.index++
	if c.slots[at.Index] = (lock.Slot{Index: at.Index, Record: to, Version: strconv.Itoa(c.index)}); to.Free() {
		delete(c.slots, at.Index)
	}
	return nil
}

// A node takes the slot of its pool before it is disturbed, says that it goes down, and frees it once it is back.
// Another one is told who holds it.
func Example() {
	ctx := context.Background()
	pool := lock.Pool{Store: &consul{slots: map[int]lock.Slot{}}, Name: "control-plane"}
	one, two := lock.Owner{Node: "n1", Attempt: "a1"}, lock.Owner{Node: "n2", Attempt: "a2"}
	fmt.Println(pool.Claim(ctx, one))
	fmt.Println(pool.Reach(ctx, one, lock.Down))
	held := new(lock.HeldError)
	if errors.As(pool.Claim(ctx, two), &held) {
		fmt.Println(held.By[0].Node, held.By[0].Step)
	}
	fmt.Println(pool.Release(ctx, one))
	fmt.Println(pool.Claim(ctx, two))
	// Output:
	// <nil>
	// <nil>
	// n1 down
	// <nil>
	// <nil>
}
