package rollout

import (
	"fmt"
	"slices"
	"time"
)

// what a machine of the model is at.
type at uint8

const (
	idle     at = iota
	working     // an operation runs, and there is no attempt yet
	prepared    // its attempt is open; it still runs what it ran
	down        // it restarts
	trial
	undoing // the attempt has ended, and its node is not back in service
)

// machine is a node of the model: what it runs, what it is at, and what META says. Images are 0 (from before), 1, 2.
type machine struct {
	at        at
	image, to uint8
	boot      uint8
	attempt   uint8 // its id; 0: there is none
	about     uint8 // image of the attempt
	result    uint8 // 0: open; 1: confirmed; 2: fell back; 3: abandoned
	ours      bool  // by an order of the controller's
	away      bool  // it does not answer for a while, and does its work
	failed    uint8 // an order of ours for this image failed, and nobody said to try again
}

// written is a Record of the model.
type written struct {
	state, wave     uint8
	target          uint8
	attempt, boot   uint8
	hasAttempt, set bool
}

const most = 3 // machines

// world is a state.
type world struct {
	machines [most]machine
	status   [most]written
	image    uint8 // of the status
	digest   bool  // it is known

	asked   uint8 // image of the spec
	paused  bool
	retry   uint8
	retried uint8 // of the status

	// a decision that was made and not carried out yet
	pending bool
	next    [most]written
	head    [3]uint8 // image, digest, retried
	orders  [most]uint8
	wrote   bool

	confirmed uint8 // bits of images that one machine has confirmed

	// what may still go wrong
	crashes, losses, fails, cuts, absences, changes, retries, metas uint8
}

// limits are what may go wrong, and what may happen, in a case.
type limits struct {
	name   string
	nodes  int
	most   int   // unavailable
	broken uint8 // bits of images that never prove themselves
	start  world

	// seeded faults
	early  bool           // orders are given before they are written down
	forget func(*Node)    // of what is seen
	spec   func(*Spec)    // of what is asked
	recall func(*Status)  // of what was written down
	flaw   func(*written) // of what is written down
}

var (
	states = []State{Pending, Ordered, Upgrading, Done, Failed}
	waves  = []string{"", "canary", Rest, "all"}
	noTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func digest(image uint8) string { return fmt.Sprintf("sha256:%d", image) }

func name(i int) string { return string(rune('a' + i)) }

// status is what the world has written down.
func (w world) recorded(l limits) Status {
	s := Status{}
	if w.image > 0 {
		s.Image, s.Retry = fmt.Sprintf("os:%d", w.image), int64(w.retried)
	}
	if w.digest {
		s.Digest = digest(w.image)
	}
	for i := range l.nodes {
		if r := w.status[i]; r.set {
			rec := Record{Name: name(i), State: states[r.state], Wave: waves[r.wave], Boot: fmt.Sprint(r.boot), Since: noTime,
				At: noTime}
			if r.target > 0 {
				rec.Target = digest(r.target)
			}
			if r.hasAttempt {
				rec.Attempt = fmt.Sprint(r.attempt)
			}
			s.Nodes = append(s.Nodes, rec)
		}
	}
	return s
}

func number(text string) (n uint8) { _, _ = fmt.Sscan(text, &n); return n }

func record(r Record) written {
	w := written{set: true, state: uint8(slices.Index(states, r.State)), wave: uint8(slices.Index(waves, r.Wave)),
		boot: number(r.Boot), hasAttempt: r.Attempt != "", attempt: number(r.Attempt)}
	if r.Target != "" {
		w.target = r.Target[len(r.Target)-1] - '0'
	}
	return w
}

// seen is what a machine says of itself.
func (m machine) seen(i int) Node {
	n := Node{Name: name(i), Ready: true}
	if m.at == down || m.away {
		n.Away, n.Ready = "no answer", m.at != down
		return n
	}
	n.Boot, n.Image, n.Trial = fmt.Sprint(m.boot), digest(m.image), m.at == trial
	switch m.at {
	case working, prepared:
		n.Busy, n.For = "upgrade", fmt.Sprintf("os@%s", digest(m.to))
	case undoing:
		n.Undoing, n.Cordoned = "uncordon", true
	}
	if m.attempt > 0 {
		n.Attempt = &Attempt{ID: fmt.Sprint(m.attempt), Image: digest(m.about),
			Result: []string{"", "confirmed", "fell back", "abandoned"}[m.result]}
	}
	return n
}

// look makes the next decision.
func (w world) look(l limits) (world, Decision) {
	in := Input{Spec: Spec{Image: fmt.Sprintf("os:%d", w.asked), MaxUnavailable: l.most, Paused: w.paused,
		Retry: int64(w.retry)}, Status: w.recorded(l), Now: noTime}
	if l.spec != nil {
		l.spec(&in.Spec)
	}
	if l.recall != nil {
		l.recall(&in.Status)
	}
	for i := range l.nodes {
		n := w.machines[i].seen(i)
		if l.forget != nil {
			l.forget(&n)
		}
		in.Nodes = append(in.Nodes, n)
	}
	d := Decide(in)
	if d.Resolve != "" { // the node is asked in the same round
		in.Resolved = digest(w.asked)
		d = Decide(in)
	}
	w.pending, w.wrote, w.orders = true, false, [most]uint8{}
	w.head = [3]uint8{w.asked, 0, w.retry}
	if d.Status.Digest != "" {
		w.head[1] = 1
	}
	for i, r := range d.Status.Nodes {
		w.next[i] = record(r)
		if l.flaw != nil {
			l.flaw(&w.next[i])
		}
	}
	give := func(node string) { w.orders[node[0]-'a'] = w.asked }
	for _, o := range d.Orders {
		give(o.Node)
	}
	for _, r := range d.Status.Nodes {
		if l.early && r.State == Ordered {
			give(r.Name)
		}
	}
	w.wrote = l.early
	return w, d
}

// drop forgets the decision: it was carried out, or its maker was killed.
func (w world) drop() world {
	w.pending, w.wrote = false, false
	w.next, w.orders, w.head = [most]written{}, [most]uint8{}, [3]uint8{}
	return w
}

// write writes the decision down.
func (w world) write() world {
	w.status, w.image, w.digest, w.retried, w.wrote = w.next, w.head[0], w.head[1] == 1, w.head[2], true
	if w.orders == [most]uint8{} {
		return w.drop()
	}
	return w
}
