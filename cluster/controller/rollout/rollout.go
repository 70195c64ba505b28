// Package rollout decides how nodes are moved to another version, a few at a time: which is ordered next, and what is
// to be written down before. It is one pure function, Decide: what was asked for, what was written down, what the nodes
// say of themselves and the time give what to write down next and what to order.
//
// What is guaranteed, whenever the one who carries it out is killed, as long as only one does:
//   - An order is given only if it was written down before, and with it what the node's last attempt was. So an
//     attempt that came of it is known from one that was there before: a node that failed is not ordered again, and
//     one where the order never arrived is.
//   - No more nodes are ordered than may be unavailable, of all and of each pool. Whatever else makes a node unavailable
//     counts; time never makes one available.
//   - The first wave is done before a node of the next is ordered. The first failure stops all; what is underway is
//     followed to its end.
//
// Whether a node may go down is the node's own decision, with its lock: an order that it refuses is given again later.
package rollout

import "time"

// Spec is what was asked for.
type Spec struct {
	Image          string // reference of an installer image
	MaxUnavailable int    // of all nodes; less than 1 is 1
	Pools          []Pool
	Waves          []Wave // the first ones; the rest of the nodes follows. None: one node, then the rest
	Window         *Window
	Paused         bool
	Retry          int64         // another number has failed nodes tried again
	Timeout        time.Duration // how long a node may take; 0 is TimeoutDefault
}

// TimeoutDefault is how long a node may take where nothing was said.
const TimeoutDefault = time.Hour

// Pool is a group of nodes of which no more than so many may be unavailable.
type Pool struct {
	Name           string
	MaxUnavailable int // less than 1 is 1
}

// Wave is a part of the nodes.
type Wave struct {
	Name  string
	Nodes int           // how many of those that it selects; 0: all
	Soak  time.Duration // how long it is waited after the last of them is done
}

// Rest is the name of the wave of those that no other has.
const Rest = "rest"

func (s Spec) waves() []Wave {
	if len(s.Waves) == 0 {
		return []Wave{{Name: "canary", Nodes: 1}, {Name: Rest}}
	}
	return append(append([]Wave(nil), s.Waves...), Wave{Name: Rest})
}

// State is where a node is.
type State string

// States of a node.
const (
	Pending   State = "Pending"   // in another version
	Ordered   State = "Ordered"   // the order is, or was, about to be given; nothing is known to have come of it
	Upgrading State = "Upgrading" // the node is at it
	Done      State = "Done"      // it runs the image for good, and nothing is left to be undone
	Failed    State = "Failed"
)

// Record is what is written down of a node.
type Record struct {
	Name    string
	State   State
	Wave    string // that it was chosen for; empty: not yet
	Version string // that it runs, as it says
	Message string // for people
	Since   time.Time

	Target  string    // digest of the image that the rest is about
	Attempt string    // the node's latest when it was first looked at: not a fruit of our order
	Boot    string    // in which it was when the order was written down
	At      time.Time // when it was
}

// Status is what is written down.
type Status struct {
	Image   string // that all of this is about: of Spec
	Digest  string // what Image resolved to, once for all nodes; empty: not yet
	Retry   int64  // of Spec, as far as it was taken in
	Phase   Phase
	Message string // for people
	Wave    string // that is at its turn
	Nodes   []Record
}

// Phase is where the whole is.
type Phase string

// Phases.
const (
	Progressing Phase = "Progressing"
	Waiting     Phase = "Waiting" // for the window, for a wave's soak, for nodes that are unavailable
	Paused      Phase = "Paused"
	Stopped     Phase = "Stopped" // a node failed
	Complete    Phase = "Complete"
)

// Node is what is seen of a node now.
type Node struct {
	Name     string
	Pools    []string // that it is in
	Waves    []string // that select it; Rest is not among them
	Ready    bool     // for its work
	Cordoned bool     // it may be given no work
	Problem  string   // why it cannot be ordered or asked at all; empty: none
	Away     string   // why it does not answer; empty: it does, and the rest is known

	Boot      string // names its boot
	Version   string // that it runs
	Image     string // digest of the slot that runs
	Trial     bool   // it is on trial
	Unordered string // why nothing confirms what runs
	Busy      string // an operation that runs
	For       string // image that the operation is for, as it was ordered
	Armed     bool   // the next boot is of another slot
	Undoing   string // what is still to be undone
	Attempt   *Attempt
	Bad       map[string]string // why images are known to be bad, by digest
	Refused   *Refusal          // how the last order ended that nothing came of, as far as it is known
}

// Attempt is a node's latest.
type Attempt struct{ ID, Image, Result, Reason string }

// Refusal is how an order ended that left no attempt.
type Refusal struct {
	At    time.Time
	Final bool // another try would end in the same way
	Text  string
}

// Order is to be given to a node.
type Order struct{ Node, Image string }

// Decision is what follows.
type Decision struct {
	Status  Status  // to be written down, before anything else
	Orders  []Order // to be given, if Status could be written down; each was written down before already
	Resolve string  // node to be asked what Image resolves to; empty: none
	Wake    time.Time
}
