package explore

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/cluster/quorum"
)

// found takes each world that may come next, and what led there.
type found func(next world, what func() string)

func said(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}

// next is all that can happen.
func (c *Case) next(w world, to found) {
	for i := range w.nodes[:c.Nodes] {
		n := w.nodes[i]
		if n.dead {
			c.frees(w, i, "the machine is off", lock.Evidence{By: "person", Off: "destroyed"}, to)
			continue
		}
		if n.at == idle && !n.marked {
			c.frees(w, i, "its node says that it is done", lock.Evidence{By: "person", Over: true}, to)
		}
		c.goOn(w, i, to)
		c.power(w, i, to)
	}
	c.disturb(w, to)
}

// goOn is the node's own next step.
func (c *Case) goOn(w world, i int, to found) {
	n := &w.nodes[i]
	if _, writing := n.at.writes(); writing {
		c.write(w, i, to)
	}
	if n.at >= claim && n.at < off {
		failed := w
		failed.nodes[i].at, failed.nodes[i].pending = c.undoing(), write{}
		to(failed, said("%s fails at %s, and undoes", nodeNames[i], places[n.at]))
	}
	was := n.at
	step := said("%s: %s", nodeNames[i], places[was])
	switch n.at {
	case idle:
		if n.attempts < c.Attempts && (c.Upgraded == 0 || i < c.Upgraded) {
			n.attempts++
			n.marked, n.at = true, claim
			to(w, said("%s begins attempt %d", nodeNames[i], n.attempts))
		}
	case cordon:
		n.cordoned, n.at = true, drained
		to(w, step)
	case look:
		if n.at = down; !c.allow(&w, i) {
			n.at = c.undoing()
			step = said("%s: others are missing, so it undoes", nodeNames[i])
		}
		to(w, step)
	case leave:
		if n.at = last; c.Leaves {
			n.left = true
		}
		to(w, step)
	case arm:
		n.armed, n.at = true, off
		to(w, said("%s is armed and restarts", nodeNames[i]))
	case back:
		n.at, n.pending = c.after(back), write{}
		to(w, said("%s cannot say that it is back, and goes on", nodeNames[i]))
	case off:
		n.armed = false
		if n.at = idle; n.marked && !c.forgets {
			n.at = c.booting()
		}
		to(w, said("%s boots", nodeNames[i]))
	case rejoin:
		n.left = false
		n.at = c.after(rejoin)
		to(w, step)
	case uncordon:
		n.cordoned = false
		n.at = c.after(uncordon)
		to(w, step)
	}
}

// allow is the node's look at its peers, which it decides on by package quorum.
func (c *Case) allow(w *world, self int) bool {
	view := quorum.View{Members: make([]quorum.Member, 0, maxNodes), Leaves: c.Leaves, Spare: c.Of - 1}
	for i, n := range w.nodes[:c.Nodes] {
		if n.left {
			continue
		}
		m := quorum.Member{Name: nodeNames[i], Self: i == self}
		if n.at == off {
			m.Ill = "no answer"
		}
		view.Members = append(view.Members, m)
	}
	return quorum.Allow(view) == nil
}

// write is a node that reads the store, decides by package lock, and writes.
func (c *Case) write(w world, i int, to found) {
	n := &w.nodes[i]
	if !n.pending.on {
		c.decide(w, i, to)
		return
	}
	p := n.pending
	n.pending = write{}
	if w.budget.late > 0 && !w.late.on {
		late := w
		late.late = p
		late.budget.late--
		to(late, said("%s waits no longer for its write of %s, which is under way", nodeNames[i], places[n.at]))
	}
	if w.budget.lost > 0 {
		lost := w
		lost.budget.lost--
		lost.apply(c, p)
		to(lost, said("%s writes %s, and the answer is lost", nodeNames[i], places[n.at]))
	}
	step := said("%s writes %s", nodeNames[i], places[n.at])
	if !w.apply(c, p) {
		step = said("%s writes %s: the slot has moved", nodeNames[i], places[n.at])
	} else if !p.more {
		c.proceed(&w, i)
	}
	to(w, step)
}

func (c *Case) decide(w world, i int, to found) {
	n := &w.nodes[i]
	step, _ := n.at.writes()
	me := lock.Record{Owner: w.owner(i), Step: step, Of: c.Of}
	var changes []lock.Change
	var err error
	switch n.at {
	case claim:
		changes, err = c.take(w.read(c), me)
	case unlock:
		changes = c.give(w.read(c), nodeNames[i])
	default:
		changes, err = c.advance(w.read(c), me)
	}
	text := said("%s reads, to write %s", nodeNames[i], places[n.at])
	switch {
	case err != nil && n.at == back && errors.Is(err, lock.ErrLost):
		n.at = c.after(back) // somebody said that it is off: it undoes all the same
		text = said("%s reads: it holds nothing any more", nodeNames[i])
	case err != nil:
		n.at = c.undoing()
		text = said("%s reads: %v", nodeNames[i], err)
	case len(changes) == 0:
		c.proceed(&w, i)
	default:
		n.pending = w.change(changes)
	}
	to(w, text)
}

// proceed is what follows once the store has what it was to have.
func (c *Case) proceed(w *world, i int) {
	n := &w.nodes[i]
	switch n.at {
	case claim:
		n.at = cordon
	case drained:
		n.at = look
	case down:
		n.at = leave
	case last:
		if n.at = arm; c.checkOnly {
			n.at = arm
			for s := range w.slots {
				if w.slots[s].owner == uint8(i+1) {
					w.apply(c, write{on: true, slot: uint8(s), version: w.slots[s].version})
				}
			}
		}
	case back, unlock:
		n.at = c.after(n.at)
	}
	if n.at == idle {
		n.marked = false
	}
}

// power is what can happen to a machine at any moment.
func (c *Case) power(w world, i int, to found) {
	if w.nodes[i].at == idle {
		return // of no interest
	}
	if w.budget.cuts > 0 && w.nodes[i].at != off {
		cut := w
		cut.budget.cuts--
		n := &cut.nodes[i]
		n.at, n.pending, n.armed = off, write{}, false
		to(cut, said("the power of %s is cut at %s", nodeNames[i], places[w.nodes[i].at]))
		if p := w.nodes[i].pending; p.on && cut.budget.late > 0 && !cut.late.on {
			cut.budget.late--
			cut.late = p
			to(cut, said("the power of %s is cut at %s, its write is under way", nodeNames[i], places[w.nodes[i].at]))
		}
	}
	if w.budget.destroyed > 0 {
		w.budget.destroyed--
		n := &w.nodes[i]
		*n = node{at: off, attempts: n.attempts, dead: true}
		to(w, said("%s is destroyed", nodeNames[i]))
	}
}

// disturb is what the network and a person who is wrong do.
func (c *Case) disturb(w world, to found) {
	if w.late.on {
		arrives := w
		p := arrives.late
		arrives.late = write{}
		arrives.apply(c, p)
		to(arrives, said("a write that came late arrives"))
		drops := w
		drops.late = write{}
		to(drops, said("a write that came late never arrives"))
	}
	if w.person.on {
		acts := w
		p := acts.person
		acts.person = write{}
		if acts.apply(c, p) {
			acts.erred = true
		}
		to(acts, said("a person frees slot %d, for no good reason", p.slot))
	} else if w.budget.wrong > 0 {
		for _, s := range w.read(c) {
			changes, err := c.byHand(s, lock.Evidence{By: "person"})
			if err == nil {
				looks := w
				looks.budget.wrong--
				looks.person = looks.change(changes)
				to(looks, said("a person looks at slot %d: %s", s.Index, s.Record))
			}
		}
	}
	if c.expires {
		for s := range w.slots {
			if w.slots[s].owner != 0 {
				over := w
				over.apply(c, write{on: true, slot: uint8(s), version: over.slots[s].version})
				to(over, said("the time of slot %d is over", s))
			}
		}
	}
}

// frees is a person who is right.
func (c *Case) frees(w world, i int, why string, e lock.Evidence, to found) {
	for _, s := range w.read(c) {
		if s.Record.Node != nodeNames[i] {
			continue
		}
		if changes, err := c.byHand(s, e); err == nil {
			freed := w
			freed.apply(c, freed.change(changes))
			to(freed, said("a person frees slot %d of %s: %s", s.Index, nodeNames[i], why))
		}
	}
}
