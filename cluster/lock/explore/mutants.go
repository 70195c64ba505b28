package explore

import "github.com/pawl-os/pawl/cluster/lock"

// Mutant is a lock as others build it, or as one might.
type Mutant struct {
	Name   string
	Case   Case
	mutate func(*Case)
}

// Explore visits the states of a lock with the fault.
func (m Mutant) Explore() Result {
	c := m.Case
	c.defaults()
	m.mutate(&c)
	return Explore(c)
}

// Mutants are the seeded faults. Each has to be found.
func Mutants() []Mutant {
	three := Case{Nodes: 3, Of: 1, Leaves: true, Attempts: 1}
	with := func(set func(*Case)) Case {
		c := three
		set(&c)
		return c
	}
	return []Mutant{
		{"the lock is held only round the check", three, func(c *Case) { c.checkOnly = true }},
		{"a slot is free after some time", three, func(c *Case) { c.expires = true }},
		{"released before uncordon", three, func(c *Case) { c.undo = []at{back, rejoin, unlock, uncordon} }},
		{"released as soon as it has booted", three, func(c *Case) { c.undo = []at{back, unlock, rejoin, uncordon} }},
		{"no fence: what was lost is not noticed", with(func(c *Case) { c.Wrong = 1 }), func(c *Case) {
			c.advance = func(slots []lock.Slot, me lock.Record) ([]lock.Change, error) {
				changes, _ := lock.Advance(slots, me)
				return changes, nil
			}
		}},
		{"freed by hand from step down", with(func(c *Case) { c.Wrong = 1 }), func(c *Case) {
			c.byHand = func(s lock.Slot, _ lock.Evidence) ([]lock.Change, error) {
				return []lock.Change{{Slot: s}},
					nil
			}
		}},
		{"versions count from one again", with(func(c *Case) { c.Wrong = 1; c.Lost = 1 }),
			func(c *Case) { c.reuse = true }},
		{"released without comparing", with(func(c *Case) { c.Late = 1; c.Lost = 1 }),
			func(c *Case) { c.blind = true }},
		{"a slot is free once its node is back", three, func(c *Case) {
			c.take = func(slots []lock.Slot, me lock.Record) ([]lock.Change, error) {
				for i, s := range slots {
					if s.Record.Step == lock.Back {
						slots[i].Record = lock.Record{}
					}
				}
				return lock.Take("pool", slots, me)
			}
		}},
		{"a restart forgets what is to be undone", three, func(c *Case) { c.forgets = true }},
	}
}

// Cases are what is explored. All have to come out clean.
func Cases() []Case {
	return []Case{
		{Name: "three nodes leave and come back; a cut, a lost answer, a late write, a person who is wrong",
			Nodes: 3, Of: 1, Leaves: true, Attempts: 1, Cuts: 1, Lost: 1, Late: 1, Wrong: 1},
		{Name: "three nodes stay members, each upgraded twice; a cut, a person who is wrong",
			Nodes: 3, Of: 1, Attempts: 2, Cuts: 1, Wrong: 1},
		{Name: "three nodes leave and come back; three cuts",
			Nodes: 3, Of: 1, Leaves: true, Attempts: 1, Cuts: 3},
		{Name: "three nodes; one is destroyed; a cut, a person who is wrong",
			Nodes: 3, Of: 1, Leaves: true, Attempts: 1, Cuts: 1, Wrong: 1, Destroyed: 1},
		{Name: "five nodes, three of them upgraded, two at a time; a lost answer",
			Nodes: 5, Upgraded: 3, Of: 2, Leaves: true, Attempts: 1, Lost: 1},
		{Name: "five nodes, one at a time; a cut",
			Nodes: 5, Of: 1, Attempts: 1, Cuts: 1},
	}
}

// Sample is the first case in little.
func Sample() Case {
	return Case{Name: "a sample", Nodes: 3, Of: 1, Leaves: true, Attempts: 1, Lost: 1, Late: 1, Wrong: 1}
}
