package rollout

import (
	"slices"
	"time"
)

// chooseWave finds the first wave that is not done, and puts nodes into it: first those that are done anyway. It
// reports whether there is none.
func (p *plan) chooseWave() (done bool) {
	for _, w := range p.in.Spec.waves() {
		p.d.Status.Wave = w.Name
		left, soaked := p.fill(w)
		if left {
			return false
		}
		if w.Name != Rest && p.in.Now.Before(soaked) && p.count(func(r Record) bool { return r.Wave == "" }) > 0 {
			p.wake(soaked)
			return false
		}
	}
	return true
}

// fill puts nodes that are done into the wave, as far as it takes any. It reports whether the wave is not done, and
// otherwise when its soak is over.
func (p *plan) fill(w Wave) (left bool, soaked time.Time) {
	most := p.count(func(r Record) bool { return r.Wave == w.Name || r.Wave == "" && p.selects(w, r) })
	if w.Nodes > 0 {
		most = min(most, w.Nodes)
	}
	has, finished := 0, 0
	for i := range p.d.Status.Nodes {
		if r := p.record(i); r.Wave == w.Name {
			has++
		}
	}
	for i := range p.d.Status.Nodes {
		r := p.record(i)
		if r.Wave == "" && r.State == Done && has < most && p.selects(w, *r) {
			r.Wave = w.Name
			has++
		}
		if r.Wave == w.Name && r.State == Done {
			finished++
			if at := r.Since.Add(w.Soak); at.After(soaked) {
				soaked = at
			}
		}
	}
	return finished < max(has, most), soaked
}

// selects reports whether a node may be in the wave.
func (p *plan) selects(w Wave, r Record) bool {
	return w.Name == Rest || len(p.in.Spec.Waves) == 0 || slices.Contains(p.nodes[r.Name].Waves, w.Name)
}

// pick says which nodes are ordered: those that were written down before, now, and others once they are.
func (p *plan) pick() {
	s := &p.d.Status
	s.Phase, s.Message = Progressing, ""
	var w Wave
	for _, w = range p.in.Spec.waves() {
		if w.Name == s.Wave {
			break
		}
	}
	has := p.count(func(r Record) bool { return r.Wave == w.Name })
	var kept []string
	for _, again := range []bool{true, false} { // first those that were chosen before
		for i := range s.Nodes {
			r := p.record(i)
			switch {
			case (r.State == Ordered) != again || r.State != Ordered && r.State != Pending:
			case r.Wave != w.Name && (r.Wave != "" || !p.selects(w, *r)):
			case r.Wave == "" && w.Nodes > 0 && has >= w.Nodes:
			case p.may(*r):
				if r.Wave == "" {
					r.Wave = w.Name
					has++
				}
				kept = append(kept, r.Name)
				p.choose(r)
			}
		}
	}
	p.release(kept)
	if s.Message == "" && !slices.ContainsFunc(s.Nodes, func(r Record) bool {
		return r.State == Ordered || r.State == Upgrading
	}) {
		s.Phase, s.Message = Waiting, "for nodes that are unavailable: "+p.unavailable()
		if p.unavailable() == "" {
			s.Message = "for the soak of wave " + w.Name
		}
	}
}

// choose writes a node's order down, or gives it, if it was written down before.
func (p *plan) choose(r *Record) {
	n, s := p.nodes[r.Name], p.d.Status
	i := slices.IndexFunc(p.wrote.Nodes, func(w Record) bool { return w.Name == r.Name })
	if r.State == Ordered && i >= 0 && p.wrote.Nodes[i].State == Ordered {
		if n.Refused != nil && p.in.Now.Before(n.Refused.At.Add(refusalPause)) {
			p.wake(n.Refused.At.Add(refusalPause))
			return
		}
		p.d.Orders = append(p.d.Orders, Order{r.Name, Pinned(s.Image, s.Digest)})
		return
	}
	if r.State != Ordered {
		r.Since, r.At = p.in.Now, p.in.Now
	}
	r.State, r.Message, r.Boot = Ordered, "", n.Boot
	p.d.Wake = p.in.Now
}

// may reports whether a node can be ordered with no more unavailable, of all and of its pools, than may be.
func (p *plan) may(r Record) bool {
	n := p.nodes[r.Name]
	if n.Problem != "" || !n.quiet() || !n.Ready {
		return false
	}
	within := func(most int, in func(Node) bool) bool {
		count := 1 // this one
		for _, other := range p.d.Status.Nodes {
			if m := p.nodes[other.Name]; other.Name != r.Name && in(m) && unavailable(m, other) {
				count++
			}
		}
		return count <= max(most, 1)
	}
	if !within(p.in.Spec.MaxUnavailable, func(Node) bool { return true }) {
		return false
	}
	for _, pool := range p.in.Spec.Pools {
		isIn := func(n Node) bool { return slices.Contains(n.Pools, pool.Name) }
		if isIn(n) && !within(pool.MaxUnavailable, isIn) {
			return false
		}
	}
	return true
}
