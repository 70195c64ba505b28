// Package lock keeps more nodes of a pool from being down than may be, through their restarts.
//
// A pool has slots. A node that wants to be disturbed takes one, and frees it once it is back in service: after the
// confirm or the fallback, after it has rejoined and was uncordoned. What a slot holds is a Record: whose it is (node
// and attempt) and how far the node has come. Nobody owns a slot by a lease or until a time: no clock is in any
// decision, so a node that is slow, paused or off keeps what it has.
//
// Start with Locker, which is what a node uses, and Pool, which is one over a Store (etcd, Kubernetes). The decisions
// are the pure functions of decide.go. Package explore runs them through every order of events that it can think of.
//
// Guarantees: of the nodes that hold by this package, never more than the pool's slots are down, whatever is cut,
// late or lost; a holder that was released by a person learns so before it goes down; what a node left behind it
// finds again. It does not find out whether a machine is off: see Evidence.
package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Step is how far the holder of a slot has come.
type Step string

// The steps, in order.
const (
	Claimed Step = "claimed" // the slot is the node's
	Drained Step = "drained" // its work has been handed over
	Down    Step = "down"    // it leaves its members, or restarts; from here on a person's word frees nothing
	Back    Step = "back"    // it runs again, and undoes what it did
)

// place is where a step stands in their order; 0 is none.
func (s Step) place() int {
	switch s {
	case Claimed:
		return 1
	case Drained:
		return 2
	case Down:
		return 3
	case Back:
		return 4
	}
	return 0
}

// Owner is whose a slot is.
type Owner struct {
	Node    string `json:"node"`    // an id that no other node has and that outlives the restart; not a host name
	Attempt string `json:"attempt"` // the attempt's id, as META has it
}

// Record is what a slot holds. The zero Record is a free slot.
type Record struct {
	Owner
	Step    Step   `json:"step"`
	Of      int    `json:"of"`                // how many may hold at once, as the holder was told
	Address string `json:"address,omitempty"` // where the holder's API answers
	What    string `json:"what,omitempty"`    // what it is about, for people
	// For people alone, by the holder's clock: when it came to this step, and when it last wrote.
	Since time.Time `json:"since"`
	Seen  time.Time `json:"seen,omitzero"`
}

// Free reports whether the slot of this record is free.
func (r Record) Free() bool { return r.Node == "" }

func (r Record) String() string {
	s := fmt.Sprintf("node %s (attempt %s), step %s", r.Node, r.Attempt, r.Step)
	if !r.Since.IsZero() {
		s += " since " + r.Since.UTC().Format(time.RFC3339)
	}
	if r.Seen.After(r.Since) {
		s += ", last seen " + r.Seen.UTC().Format(time.RFC3339)
	}
	if r.What != "" {
		s += ": " + r.What
	}
	return s
}

// maxText bounds each text of a record, in bytes.
const maxText = 253

// Check returns why a record cannot be, or be read.
func (r Record) Check() error {
	for name, text := range map[string]string{"node": r.Node, "attempt": r.Attempt, "address": r.Address,
		"what": r.What} {
		if len(text) > maxText {
			return fmt.Errorf("its %s has more than %d bytes", name, maxText)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			return fmt.Errorf("its %s %q holds more than ASCII letters, digits and signs", name, text)
		}
	}
	switch {
	case r.Node == "" || r.Attempt == "":
		return errors.New("it names no node or no attempt")
	case r.Step.place() == 0:
		return fmt.Errorf("its step %.20q is none", r.Step)
	case r.Of < 1:
		return fmt.Errorf("it is of a pool of %d", r.Of)
	}
	return nil
}

// Slot is one slot as it was read.
type Slot struct {
	Index   int
	Record  Record
	Version string // changes with every write and never comes again; empty: there is nothing at this index
}

// Store keeps the slots of one pool. Both calls end when their context does, and may then have happened all the same,
// or still happen later.
type Store interface {
	// Slots are all that there are, as the last write left them (a linearizable read), in the order of their indexes. A
	// slot with nothing in it need not be listed.
	Slots(context.Context) ([]Slot, error)
	// Write changes a slot that still is as it was read: its record, or what frees it if that is the zero one. Else
	// ErrMoved. Freeing works where a store that is full takes nothing else.
	Write(context.Context, Slot, Record) error
}

// Locker is what a node uses of a lock. Each call can be made again, also by the process that comes after a restart.
type Locker interface {
	// Ask returns a *HeldError if Claim would now. It changes nothing.
	Ask(context.Context, Owner) error
	// Claim takes a slot, or finds the one that the owner has. A pool without a free one is a *HeldError.
	Claim(context.Context, Owner) error
	// Reach says that the owner comes to a step. It is the fence: after ErrLost the owner must not go on to it.
	Reach(context.Context, Owner, Step) error
	// Release frees what the owner's node holds, if it does.
	Release(context.Context, Owner) error
}

// Errors that callers tell apart.
var (
	// ErrMoved is returned by a Store when a slot is not any more as it was read. Read it again.
	ErrMoved = errors.New("the slot has changed since it was read")
	// ErrLost is returned when the owner holds no slot: somebody has released it. Undo, and begin again.
	ErrLost = errors.New("this node holds the lock no more: somebody has released it")
	// ErrStands is returned when a slot is not to be freed by hand. The error says what is missing.
	ErrStands = errors.New("the slot is not freed")
)

// HeldError says who holds a pool that has no free slot.
type HeldError struct {
	Pool string
	By   []Record
	Why  string // of a lock that does not say who holds it
}

func (e *HeldError) Error() string {
	if len(e.By) == 0 && e.Why != "" {
		return fmt.Sprintf("pool %s has no free slot: %s (wait until it has)", e.Pool, e.Why)
	}
	var by []string
	for _, r := range e.By {
		by = append(by, r.String())
	}
	return fmt.Sprintf("pool %s has no free slot: held by %s (wait until it is back, or see what keeps it)",
		e.Pool, strings.Join(by, "; "))
}
