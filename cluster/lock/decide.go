package lock

import (
	"fmt"
	"slices"
)

// The decisions. They read nothing but their arguments, so the explorer runs the very same.

// Change is a write that a decision asks for: the slot as it was read, and what it is to hold.
type Change struct {
	Slot Slot
	To   Record
}

// Take decides how a node gets a slot. No change means that it has one. A node has at most one slot: what an earlier
// attempt of the same node left is taken over, whatever its step, since the node that asks is not down; and a second
// one, which a write that came late made, is freed. Otherwise the lowest free index is taken, so that two that ask at
// once meet there.
func Take(pool string, slots []Slot, me Record) ([]Change, error) {
	var changes []Change
	var others []Record
	of, mine := me.Of, false
	for _, s := range slots {
		switch {
		case s.Record.Free():
		case s.Record.Node != me.Node:
			others = append(others, s.Record)
			of = min(of, s.Record.Of) // nodes that were told different numbers keep to the lowest
		case mine:
			changes = append(changes, Change{Slot: s})
		default:
			mine = true
			if s.Record.Owner != me.Owner {
				changes = append(changes, Change{s, me})
			}
		}
	}
	if mine {
		return changes, nil
	}
	if len(others) >= of {
		return nil, &HeldError{Pool: pool, By: others}
	}
	for i := range me.Of {
		at := slices.IndexFunc(slots, func(s Slot) bool { return s.Index == i })
		if at < 0 {
			return []Change{{Slot{Index: i}, me}}, nil
		}
		if slots[at].Record.Free() {
			return []Change{{slots[at], me}}, nil
		}
	}
	return nil, &HeldError{Pool: pool, By: others}
}

// Advance decides how an owner reaches a step. What is there already is written again: the write is the fence.
func Advance(slots []Slot, me Record) ([]Change, error) {
	for _, s := range slots {
		if s.Record.Owner != me.Owner {
			continue
		}
		if s.Record.Step.place() > me.Step.place() {
			return nil, fmt.Errorf("step %s comes before step %s, which the slot is at already", me.Step, s.Record.Step)
		}
		if s.Record.Step == me.Step {
			me.Since = s.Record.Since
		}
		return []Change{{s, me}}, nil
	}
	return nil, ErrLost
}

// Give decides what a node frees that has nothing left to undo: all that is its own, of whatever attempt.
func Give(slots []Slot, node string) (changes []Change) {
	for _, s := range slots {
		if s.Record.Node == node && node != "" {
			changes = append(changes, Change{Slot: s})
		}
	}
	return changes
}

// Evidence is what speaks for freeing a slot that is another's.
type Evidence struct {
	By string // who asks
	// Over: the holder's own API said that it is done with the attempt: over, or never heard of, and nothing left to
	// undo.
	Over bool
	// Off says how it is known that the holder's machine is off and stays off, in the words of who says so.
	Off string
}

// ByHand decides whether a slot may be freed by others than its holder; ErrStands if not. Until step down a person's
// word is enough: the holder learns of it before it goes down. From then on it could not, so its being off, or its
// own word, is needed.
func ByHand(s Slot, e Evidence) ([]Change, error) {
	switch {
	case s.Record.Free():
		return nil, fmt.Errorf("slot %d is free: %w", s.Index, ErrStands)
	case e.By == "":
		return nil, fmt.Errorf("who frees slot %d? %w (give a name)", s.Index, ErrStands)
	case e.Over || e.Off != "" || s.Record.Step.place() < Down.place():
		return []Change{{Slot: s}}, nil
	}
	return nil, fmt.Errorf("slot %d is held by %s: %w: a machine at this step may be about to restart, and cannot "+
		"be told "+
		"(wait until it is back; or see that it is off and stays off, and say so)", s.Index, s.Record, ErrStands)
}
