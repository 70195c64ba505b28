package explore

import (
	"strconv"

	"github.com/pawl-os/pawl/cluster/lock"
)

// Most of what a world may have.
const (
	maxNodes = 5
	maxSlots = 2
)

// at is where a node's program stands.
type at uint8

// The program of a node. Up to restart a failure leads to rejoin; a cut leads to off, and from there to back if META
// has the mark.
const (
	idle at = iota
	claim
	cordon
	drained
	look // at the other members, before it leaves them or restarts
	down
	leave
	last // the fence, once more: after everything else
	arm
	off
	back
	rejoin
	uncordon
	unlock
)

var places = [...]string{
	"idle", "claim", "cordon", "drained", "look", "down", "leave", "last", "arm", "off", "back", "rejoin",
	"uncordon", "unlock",
}

// writes is the step that is written there.
func (a at) writes() (lock.Step, bool) {
	switch a {
	case claim:
		return lock.Claimed, true
	case drained:
		return lock.Drained, true
	case down, last:
		return lock.Down, true
	case back:
		return lock.Back, true
	case unlock:
		return "", true
	}
	return "", false
}

// Versions of slots. Which older one somebody remembers makes no difference: it never comes again.
const (
	absent  uint8 = 0
	current uint8 = 1
	stale   uint8 = 255
)

// write is one on its way to the store.
type write struct {
	on      bool
	slot    uint8
	version uint8
	to      slot
	more    bool // there is more to write after it
}

// node is one machine.
type node struct {
	at       at
	attempts uint8 // begun so far
	marked   bool  // META says that there is something to undo
	cordoned bool
	left     bool // is no member
	armed    bool // its restart is by our order
	dead     bool // destroyed: it never comes back
	pending  write
}

// slot is one of the store's.
type slot struct {
	owner   uint8 // 1 + the node's number; 0: free
	attempt uint8
	step    uint8 // index in steps
	version uint8
}

var steps = [...]lock.Step{lock.Claimed, lock.Drained, lock.Down, lock.Back}

// budget is how much may still go wrong.
type budget struct{ cuts, lost, late, wrong, destroyed uint8 }

// world is everything at one moment. It is comparable: two that are equal have the same future.
type world struct {
	nodes  [maxNodes]node
	slots  [maxSlots]slot
	late   write // one that its sender has given up, and that may still arrive
	person write // what a person has looked at, and is about to free on nothing but a word
	budget budget
	erred  bool // a person has freed what was held
}

// names of nodes and attempts, made once.
var (
	nodeNames    = [maxNodes]string{"n1", "n2", "n3", "n4", "n5"}
	attemptNames = func() (all [256]string) {
		for i := range all {
			all[i] = strconv.Itoa(i)
		}
		return all
	}()
)

// owner is a node as the lock knows it.
func (w *world) owner(i int) lock.Owner {
	return lock.Owner{Node: nodeNames[i], Attempt: attemptNames[w.nodes[i].attempts]}
}

// read is what a Store lists.
func (w *world) read(c *Case) []lock.Slot {
	all := make([]lock.Slot, 0, maxSlots)
	for i, s := range w.slots[:c.Of] {
		if s.owner != 0 {
			all = append(all, lock.Slot{Index: i, Version: attemptNames[s.version], Record: lock.Record{
				Owner: lock.Owner{Node: nodeNames[s.owner-1], Attempt: attemptNames[s.attempt]},
				Step:  steps[s.step], Of: c.Of,
			}})
		}
	}
	return all
}

// change is what a decision asks for, on its way.
func (w *world) change(changes []lock.Change) write {
	first := changes[0]
	out := write{on: true, slot: uint8(first.Slot.Index), more: len(changes) > 1}
	if first.Slot.Version != "" {
		out.version = w.slots[out.slot].version
	}
	for i, s := range steps {
		if first.To.Step == s {
			out.to.step = uint8(i)
		}
	}
	for i, name := range nodeNames {
		if first.To.Node == name {
			out.to.owner, out.to.attempt = uint8(i+1), w.nodes[i].attempts
		}
	}
	return out
}

// apply is what a Store does with a write, and reports whether the slot was as it was read.
func (w *world) apply(c *Case, p write) bool {
	s := &w.slots[p.slot]
	if s.version != p.version && !(c.blind && p.to.owner == 0) {
		return false
	}
	version := s.version + 1
	if c.reuse { // counts from one again when a key is made anew
		if p.to.owner == 0 {
			version = absent
		}
		*s = p.to
		s.version = version
		return true
	}
	*s = p.to
	if s.version = current; p.to.owner == 0 {
		s.version = absent
	}
	age := func(other *write) {
		if other.on && other.slot == p.slot && other.version == current {
			other.version = stale
		}
	}
	for i := range w.nodes {
		age(&w.nodes[i].pending)
	}
	age(&w.late)
	age(&w.person)
	return true
}
