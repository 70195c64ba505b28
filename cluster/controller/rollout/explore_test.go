package rollout

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// move is what can happen next.
type move struct {
	what string
	to   world
	bad  string // why it must not
}

// moves are all that can happen in a world.
func (w world) moves(l limits) (all []move) {
	add := func(what string, change func(*world)) {
		to := w
		change(&to)
		all = append(all, move{what: what, to: to})
	}
	if !w.pending {
		to, d := w.look(l)
		all = append(all, move{"the controller looks", to, w.wrong(l, d)})
	} else {
		if !w.wrote || l.early && w.orders == [most]uint8{} {
			add("it writes down", func(w *world) { *w = w.write() })
		}
		for i, image := range w.orders {
			if w.wrote && image > 0 {
				all = append(all, w.given(l, i)...)
			}
		}
		if w.crashes > 0 {
			add("the controller is killed", func(w *world) { *w = w.drop(); w.crashes-- })
		}
	}
	for i := range l.nodes {
		all = append(all, w.goesOn(l, i)...)
	}
	if w.changes > 0 && w.asked == 1 {
		add("another image is asked for", func(w *world) { w.asked = 2; w.changes-- })
	}
	if w.changes > 0 && !w.paused {
		add("paused", func(w *world) { w.paused = true; w.changes-- })
	}
	if w.paused {
		add("resumed", func(w *world) { w.paused = false })
	}
	if w.retries > 0 {
		add("try again", func(w *world) {
			w.retry++
			w.retries--
			for i := range w.machines {
				w.machines[i].failed = 0
			}
		})
	}
	return all
}

// given are the ways in which an order can go.
func (w world) given(l limits, i int) (all []move) {
	sent := w
	sent.orders[i] = 0
	if sent.orders == [most]uint8{} && !l.early {
		sent = sent.drop()
	}
	if w.losses > 0 {
		lost := sent
		lost.losses--
		all = append(all, move{what: "the order to " + name(i) + " is lost", to: lost})
	}
	m, image := &sent.machines[i], w.orders[i]
	if m.at != idle || m.away || m.image == image {
		return append(all, move{what: name(i) + " refuses the order", to: sent})
	}
	bad := ""
	others, at := 0, 0
	for j := range l.nodes {
		if o := w.machines[j]; j != i && o.ours {
			if o.at != idle {
				others++
			}
			if o.at != idle && o.to == image || o.failed == image {
				at++
			}
		}
	}
	switch {
	case others >= l.most:
		bad = fmt.Sprintf("%d are unavailable by us, and %s is ordered", others, name(i))
	case m.failed == image:
		bad = name(i) + " failed, and is ordered again"
	case at > 0 && w.confirmed&(1<<image) == 0:
		bad = name(i) + " is ordered before one has confirmed the image"
	}
	m.at, m.to, m.ours = working, image, true
	return append(all, move{"an order arrives at " + name(i), sent, bad})
}

// wrong is what is wrong with a decision, by what was to be seen when it was made.
func (w world) wrong(l limits, d Decision) string {
	unavailable := 0
	for i := range l.nodes {
		if m := w.machines[i]; m.at != idle || m.away {
			unavailable++
		}
	}
	if len(d.Orders) > 0 && unavailable+len(d.Orders) > l.most {
		return fmt.Sprintf("%d are seen to be unavailable, and %v are ordered", unavailable, d.Orders)
	}
	for i := range l.nodes {
		if m := w.machines[i]; m.failed == w.asked && m.at != down && !m.away && len(d.Orders) > 0 {
			return fmt.Sprintf("%s is seen to have failed, and %v are ordered", name(i), d.Orders)
		}
	}
	return ""
}

// goesOn is what a machine does by itself.
func (w world) goesOn(l limits, i int) (all []move) {
	m := w.machines[i]
	add := func(what string, change func(*world, *machine)) {
		to := w
		change(&to, &to.machines[i])
		all = append(all, move{what: name(i) + " " + what, to: to})
	}
	failed := func(m *machine, result uint8) {
		m.result, m.at = result, undoing
		if m.ours {
			m.failed = m.to
		}
	}
	if m.away {
		add("answers again", func(_ *world, m *machine) { m.away = false })
	} else if w.absences > 0 {
		add("does not answer", func(w *world, m *machine) { m.away = true; w.absences-- })
	}
	if w.cuts > 0 && m.at < down {
		add("loses its power", func(w *world, m *machine) {
			w.cuts--
			m.boot++
			if m.at == prepared {
				failed(m, 3)
			} else {
				m.at, m.to = idle, 0
			}
		})
	}
	switch m.at {
	case working:
		add("prepares", func(_ *world, m *machine) {
			m.at, m.about, m.result = prepared, m.to, 0
			m.attempt++
		})
		if w.fails > 0 {
			add("gives up early", func(w *world, m *machine) { m.at, m.to = idle, 0; w.fails-- })
		}
	case prepared:
		add("restarts", func(_ *world, m *machine) { m.at = down })
		if w.fails > 0 {
			add("gives up", func(w *world, m *machine) { failed(m, 3); w.fails-- })
		}
	case down:
		add("comes up", func(_ *world, m *machine) { m.at = trial; m.boot++ })
		if w.fails > 0 {
			add("falls back", func(w *world, m *machine) { failed(m, 2); m.boot++; w.fails-- })
		}
		if w.fails > 0 && w.metas > 0 {
			add("falls back without META", func(w *world, m *machine) {
				failed(m, 2)
				m.boot++
				m.attempt, m.about, m.result = 0, 0, 0
				w.fails--
				w.metas--
			})
		}
	case trial:
		if l.broken&(1<<m.to) != 0 {
			add("fails its trial", func(_ *world, m *machine) { failed(m, 2); m.boot++ })
			break
		}
		add("confirms", func(w *world, m *machine) {
			m.image, m.result, m.at = m.to, 1, undoing
			w.confirmed |= 1 << m.to
		})
	case undoing:
		add("is back", func(_ *world, m *machine) { m.at, m.to = idle, 0 })
	}
	return all
}

// settled reports whether nothing is left to be waited for.
func (w world) settled(l limits) bool {
	_, d := w.look(l)
	return d.Status.Phase == Complete || d.Status.Phase == Stopped
}

// explored is what an exploration came to.
type explored struct {
	states   int
	found    string // the shortest way to what must not happen
	stuck    string
	complete int
}

// explore visits every world, the shortest ways first, and then looks from which no settled one can be reached.
func explore(l limits) (e explored) {
	type step struct {
		from int
		what string
	}
	start := l.start
	start.asked = 1
	index, worlds, steps := map[world]int{start: 0}, []world{start}, []step{{from: -1}}
	var back [][]int
	back = append(back, nil)
	trace := func(at int, last string) string {
		lines := []string{last}
		for ; at > 0; at = steps[at].from {
			lines = append([]string{steps[at].what}, lines...)
		}
		return strings.Join(lines, "\n")
	}
	var ends []int
	for i := 0; i < len(worlds); i++ {
		for _, m := range worlds[i].moves(l) {
			if m.bad != "" {
				return explored{states: len(worlds), found: trace(i, m.what+": "+m.bad)}
			}
			j, seen := index[m.to]
			if !seen {
				j = len(worlds)
				index[m.to] = j
				worlds, steps, back = append(worlds, m.to), append(steps, step{i, m.what}), append(back, nil)
			}
			back[j] = append(back[j], i)
		}
		if !worlds[i].pending && worlds[i].settled(l) {
			ends = append(ends, i)
		}
	}
	e.states, e.complete = len(worlds), len(ends)
	reach := make([]bool, len(worlds))
	for len(ends) > 0 {
		at := ends[len(ends)-1]
		ends = ends[:len(ends)-1]
		if !reach[at] {
			reach[at] = true
			ends = append(ends, back[at]...)
		}
	}
	for i, ok := range reach {
		if !ok {
			e.stuck = trace(i, fmt.Sprintf("and from here nothing ends: %v", worlds[i]))
			return e
		}
	}
	return e
}

func cases() []limits {
	return []limits{
		{name: "kills and lost orders", nodes: 3, most: 1, start: world{crashes: 2, losses: 1}},
		{name: "two at once", nodes: 3, most: 2, start: world{crashes: 1, losses: 1, absences: 1}},
		{name: "a broken image", nodes: 3, most: 2, broken: 1 << 1, start: world{crashes: 1, absences: 1, retries: 1}},
		{name: "failures of a node", nodes: 3, most: 1, start: world{crashes: 1, fails: 2, metas: 1}},
		{name: "power cuts", nodes: 3, most: 1, start: world{crashes: 1, cuts: 2}},
		{name: "another image in the middle", nodes: 3, most: 1, start: world{crashes: 1, changes: 2, fails: 1}},
		{name: "the first image is broken, another follows", nodes: 3, most: 2, broken: 1 << 1,
			start: world{changes: 1, crashes: 1}},
		{name: "all of it", nodes: 3, most: 2, start: world{crashes: 1, losses: 1, fails: 1, cuts: 1}},
	}
}

func TestNoOrderOfEventsBreaksTheRules(t *testing.T) {
	states := 0
	for _, l := range cases() {
		t.Run(l.name, func(t *testing.T) {
			e := explore(l)
			require.Empty(t, e.found)
			require.Empty(t, e.stuck)
			require.NotZero(t, e.complete)
			states += e.states
			t.Logf("%d states", e.states)
		})
	}
	t.Logf("explore: states=%d violations=0 stuck=0", states)
}

// mutants are controllers as others build them, or as one might.
func mutants() map[string]limits {
	return map[string]limits{
		"orders before it writes down": {nodes: 2, most: 1, start: world{crashes: 1, fails: 1}, early: true},
		"takes a failed attempt for an old one": {nodes: 2, most: 1, start: world{fails: 1}, forget: func(n *Node) {
			if n.Attempt != nil && n.Attempt.Result != "confirmed" {
				n.Attempt = &Attempt{ID: "", Image: n.Attempt.Image, Result: n.Attempt.Result}
			}
		}},
		"counts only what it ordered as unavailable": {nodes: 2, most: 1, start: world{absences: 1}, forget: func(n *Node) {
			if n.Away != "" {
				n.Away, n.Ready = "", true
			}
		}},
		"knows no canary": {nodes: 3, most: 2, spec: func(s *Spec) { s.Waves = []Wave{{Name: "all"}} },
			forget: func(n *Node) { n.Waves = []string{"all"} }},
		"forgets what failed": {nodes: 2, most: 1, start: world{fails: 1}, recall: func(s *Status) {
			for i := range s.Nodes {
				if s.Nodes[i].State == Failed {
					s.Nodes[i].State, s.Nodes[i].Target = Pending, ""
				}
			}
		}},
		"does not write down what it orders": {nodes: 2, most: 1, start: world{crashes: 1},
			flaw: func(w *written) {
				if w.state == 1 {
					w.state = 0
				}
			}},
		"does not tell boots apart": {nodes: 2, most: 1, start: world{fails: 1, metas: 1},
			forget: func(n *Node) { n.Boot = "0" }},
	}
}

func TestControllersThatAreWrongAreFound(t *testing.T) {
	for name, l := range mutants() {
		t.Run(name, func(t *testing.T) {
			e := explore(l)
			require.NotEmpty(t, e.found+e.stuck)
			t.Logf("%d states:\n%s%s", e.states, e.found, e.stuck)
		})
	}
}
