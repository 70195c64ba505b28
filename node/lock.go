package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawl-os/pawl/internal/foreign"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// Lock is a lock that this node shares with others, as far as a person sees and frees it: see Config.Lock. How the node
// itself takes and gives it back is its hooks' affair.
type Lock interface {
	// Slots are the slots that somebody holds, and the name of the pool that they are of.
	Slots(context.Context) (pool string, held []LockSlot, err error)
	// Release frees a slot that is as it was listed, if what speaks for it is enough: else [ErrLockStands]. One that
	// has changed since is [ErrLockMoved]. Both errors say what to do.
	Release(context.Context, LockRelease) error
}

// LockSlot is a slot that somebody holds.
type LockSlot struct {
	Index   int
	Version string // changes with every write
	Node    string // the holder's id
	Attempt string // the id of its attempt
	Step    string
	Of      int       // how many may hold at once, as the holder was told
	Address string    // where the holder's API answers; empty if not known
	What    string    // what it is about, for people
	Since   time.Time // it is at this step, by the holder's clock
	Seen    time.Time // it last wrote
}

// LockRelease is an order to free a slot, and what speaks for it.
type LockRelease struct {
	Index   int
	Version string // as it was listed
	By      string // who asks
	Off     string // how it is known that the holder's machine is off and stays off; empty: it is not
	Over    bool   // the attempt is this node's own, over, and nothing of it is left to be undone: set by LockRelease
}

// Errors of the lock. All say what to do.
var (
	// ErrNoLock is returned by a node that shares no lock whose holders can be told. Do: ask another node.
	ErrNoLock = errors.New("this node shares no lock whose slots can be listed")
	// ErrLockStands is returned when what speaks for a release is not enough. Do: what the message says.
	ErrLockStands = errors.New("the slot is not freed by hand")
	// ErrLockMoved is returned when a slot is not as it was listed. Do: list again.
	ErrLockMoved = errors.New("the slot is not as it was listed")
)

// lockTime bounds how long the lock is asked, less than a client has patience for.
const lockTime = 20 * time.Second

// Bounds of what a release says, in bytes.
const (
	maxLockVersion = 128
	maxLockOff     = 512
)

// LockSlots tells who holds the lock that this node shares.
func (s *Server) LockSlots(ctx context.Context) (pool string, held []LockSlot, err error) {
	if s.config.Lock == nil {
		return "", nil, fmt.Errorf("list the lock: %w (ask a node that was told a pool)", ErrNoLock)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	return s.config.Lock.Slots(ctx)
}

// LockRelease frees a slot of the lock by a person's order, and returns what it held. Whether that may be is the lock's
// decision. It needs no turn: the holder may be this node, in the middle of an upgrade, and learns of it at its next
// step.
func (s *Server) LockRelease(ctx context.Context, r LockRelease) (LockSlot, error) {
	switch {
	case s.config.Lock == nil:
		return LockSlot{}, fmt.Errorf("release the lock: %w (ask a node that was told a pool)", ErrNoLock)
	case r.Version == "" || r.Index < 0:
		return LockSlot{}, fmt.Errorf("release the lock: which slot? (its number and its version, as it was listed): %w",
			ErrRequest)
	case !foreign.Fits(r.Version, maxLockVersion) || !foreign.Fits(r.Off, maxLockOff):
		return LockSlot{}, fmt.Errorf("release the lock: want a version of at most %d bytes, and at most %d of how it is "+
			"known that the machine is off: %w", maxLockVersion, maxLockOff, ErrRequest)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	pool, held, err := s.config.Lock.Slots(ctx)
	if err != nil {
		return LockSlot{}, err
	}
	at := slices.IndexFunc(held, func(h LockSlot) bool { return h.Index == r.Index })
	if at < 0 {
		return LockSlot{}, fmt.Errorf("release slot %d of pool %s: nobody holds it: %w", r.Index, pool, ErrLockMoved)
	}
	r.Over = s.over(ctx, held[at].Attempt)
	if err := s.config.Lock.Release(ctx, r); err != nil {
		return LockSlot{}, err
	}
	s.log.Warn("lock released by hand", "pool", pool, "slot", r.Index, "node", held[at].Node, "attempt",
		held[at].Attempt, "step", held[at].Step, "by", r.By, "off", r.Off, "over", r.Over)
	return held[at], nil
}

// over reports whether an attempt is this node's latest, has ended, and has nothing left to be undone: then the slot is
// a leftover, such as one under an id that the node had before. What is not known is not over.
func (s *Server) over(ctx context.Context, id string) bool {
	st, err := s.Status(ctx)
	if err != nil || st.Unread != nil || st.Attempt == nil || st.Attempt.ID != id {
		return false
	}
	running := st.Operation != nil && st.Operation.Running
	return st.Attempt.State == attempt.Ended && len(st.Attempt.Marks) == 0 && len(st.Undoing) == 0 && !running
}
