// Package explore is a model of nodes that upgrade under a lock, and visits every state of it: each order of their
// steps, with power cuts, answers that are lost, writes that come late, nodes that are destroyed, and people who free
// what they should not. What decides in it are the functions of packages lock and quorum, not copies. Start with
// Explore.
//
// In every state it holds that no more nodes than the pool has slots are down by our doing, and, as long as no person
// erred, are cordoned by it; and from every state a way leads to one in which nothing is left to undo and every slot is
// free. States are visited breadth first, so a counterexample is the shortest there is.
//
// What is not in it: time, since no decision has any; and the inside of the store, which does one write after the
// other.
package explore

import (
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/cluster/lock"
)

// Case is what is explored.
type Case struct {
	Name      string
	Nodes     int
	Upgraded  int  // as many of them are upgraded, each as often as Attempts says; 0: all
	Of        int  // slots of the pool
	Leaves    bool // nodes leave their cluster before they restart
	Attempts  uint8
	Cuts      uint8 // of power
	Lost      uint8 // answers, to writes that happened
	Late      uint8 // writes that happen after their sender gave them up, or never
	Wrong     uint8 // persons who free on nothing but their word
	Destroyed uint8 // nodes

	take    func([]lock.Slot, lock.Record) ([]lock.Change, error)
	advance func([]lock.Slot, lock.Record) ([]lock.Change, error)
	give    func([]lock.Slot, string) []lock.Change
	byHand  func(lock.Slot, lock.Evidence) ([]lock.Change, error)
	undo    []at // the order in which a node undoes
	// What mutants do otherwise.
	checkOnly, expires, blind, reuse, forgets bool
}

func (c *Case) defaults() {
	c.take = func(slots []lock.Slot, me lock.Record) ([]lock.Change, error) { return lock.Take("pool", slots, me) }
	c.advance, c.give, c.byHand = lock.Advance, lock.Give, lock.ByHand
	c.undo = []at{back, rejoin, uncordon, unlock}
}

// booting is where a node goes on that has something to undo.
func (c *Case) booting() at { return c.undo[0] }

// undoing is where a node goes that fails before it was down: it is not back, for it never was away.
func (c *Case) undoing() at {
	if c.undo[0] == back {
		return c.undo[1]
	}
	return c.undo[0]
}

func (c *Case) after(a at) at {
	if i := slices.Index(c.undo, a) + 1; i < len(c.undo) {
		return c.undo[i]
	}
	return idle
}

// Result is what was found.
type Result struct {
	States int
	Wrong  string   // empty: nothing
	Stuck  bool     // what is wrong is that nothing leads on
	Trace  []string // what leads there, the shortest way
}

// wrong says what must not be in a state.
func (c *Case) wrong(w *world) string {
	away, cordoned := 0, 0
	for _, n := range w.nodes[:c.Nodes] {
		if n.dead {
			continue
		}
		if n.left || n.armed {
			away++
		}
		if n.cordoned {
			cordoned++
		}
	}
	switch {
	case away > c.Of:
		return fmt.Sprintf("%d nodes are down by our doing, in a pool of %d", away, c.Of)
	case cordoned > c.Of && !w.erred:
		return fmt.Sprintf("%d nodes are cordoned by us, in a pool of %d", cordoned, c.Of)
	}
	return ""
}

// good is a state in which nothing is left over.
func (c *Case) good(w *world) bool {
	for _, n := range w.nodes[:c.Nodes] {
		if !n.dead && (n.at != idle || n.marked || n.cordoned || n.left) {
			return false
		}
	}
	return !w.late.on && !slices.ContainsFunc(w.slots[:], func(s slot) bool { return s.owner != 0 })
}

// Explore visits every state of a case, or ends at the first that is wrong.
func Explore(c Case) Result {
	if c.take == nil {
		c.defaults()
	}
	first := world{budget: budget{c.Cuts, c.Lost, c.Late, c.Wrong, c.Destroyed}}
	g := graph{index: map[world]int32{first: 0}, states: []world{first}, parents: []int32{-1}}
	for i := 0; i < len(g.states); i++ {
		if why := c.wrong(&g.states[i]); why != "" {
			return Result{States: len(g.states), Wrong: why, Trace: g.trace(&c, int32(i))}
		}
		c.next(g.states[i], func(w world, _ func() string) { g.add(int32(i), w) })
	}
	if i := g.stuck(&c); i >= 0 {
		return Result{len(g.states), "nothing leads to where all is undone and every slot free", true, g.trace(&c, i)}
	}
	return Result{States: len(g.states)}
}

// graph is what was visited.
type graph struct {
	index    map[world]int32
	states   []world
	parents  []int32
	from, to []int32 // edges
}

func (g *graph) add(from int32, w world) {
	i, known := g.index[w]
	if !known {
		i = int32(len(g.states))
		g.index[w] = i
		g.states = append(g.states, w)
		g.parents = append(g.parents, from)
	}
	g.from, g.to = append(g.from, from), append(g.to, i)
}

// stuck is the first state from which no good one can be reached, or -1.
func (g *graph) stuck(c *Case) int32 {
	starts := make([]int32, len(g.states)+1) // of each state's incoming edges
	for _, t := range g.to {
		starts[t+1]++
	}
	for i := range g.states {
		starts[i+1] += starts[i]
	}
	incoming, fill := make([]int32, len(g.to)), slices.Clone(starts)
	for e, t := range g.to {
		incoming[fill[t]] = g.from[e]
		fill[t]++
	}
	reached := make([]bool, len(g.states))
	var todo []int32
	for i := range g.states {
		if c.good(&g.states[i]) {
			reached[i] = true
			todo = append(todo, int32(i))
		}
	}
	for len(todo) > 0 {
		t := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range incoming[starts[t]:starts[t+1]] {
			if !reached[from] {
				reached[from] = true
				todo = append(todo, from)
			}
		}
	}
	return int32(slices.Index(reached, false))
}

// trace is what leads to a state.
func (g *graph) trace(c *Case, i int32) (steps []string) {
	for ; g.parents[i] >= 0; i = g.parents[i] {
		text, want := "", g.states[i]
		c.next(g.states[g.parents[i]], func(w world, what func() string) {
			if text == "" && w == want {
				text = what()
			}
		})
		steps = append(steps, text)
	}
	slices.Reverse(steps)
	return steps
}
