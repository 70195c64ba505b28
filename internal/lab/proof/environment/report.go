package environment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pawl-os/pawl/upgrade"
)

// Result is what a run found.
type Result struct {
	Seed                           int64 // of the first
	Made, Accepted, Refused, Wrong int
	Blind                          int // wrong ones with the rehearsal switched off; -1 where none were made
	Seconds                        float64
	Breaches                       []Breach // of what is wrong, most frequent first
}

// Breach is one way in which promises were not kept.
type Breach struct {
	Name    string
	Count   int
	Example string // the shortest that was found
	size    int
}

// String is the last line of a run.
func (r Result) String() string {
	return fmt.Sprintf("environments: made=%d accepted=%d refused=%d wrong=%d", r.Made, r.Accepted, r.Refused, r.Wrong)
}

// Err is nil where every promise was kept, at least a third was accepted, and the judge notices what a rehearsal finds.
func (r Result) Err() error {
	var errs []error
	if r.Wrong > 0 {
		errs = append(errs, fmt.Errorf("a promise was not kept in %d environments", r.Wrong))
	}
	if 3*r.Accepted < r.Made {
		errs = append(errs, fmt.Errorf("%d of %d environments were accepted, fewer than a third", r.Accepted, r.Made))
	}
	if r.Blind == 0 {
		errs = append(errs, errors.New("nothing is wrong without a rehearsal, so it was not shown that the judge "+
			"would notice"))
	}
	return errors.Join(errs...)
}

// tallies is what is counted while environments are made.
type tallies struct {
	mu         sync.Mutex
	result     Result
	wrong      map[string]*Breach
	operations map[string]*[3]int // accepted, refused, wrong
	changes    map[string]*[2]int // by disturbance: made, accepted
}

func newTallies() tallies {
	return tallies{wrong: map[string]*Breach{}, operations: map[string]*[3]int{}, changes: map[string]*[2]int{}}
}

// count adds an environment to the result. What is wrong is tried again with fewer disturbances, for the example.
func (r *run) count(ctx context.Context, p plan, f found) error {
	if !f.made {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range p.changes {
			r.tally(c, 0, false)
		}
		return nil
	}
	var bad []*wrong
	accepted := false
	for _, o := range f.outcomes {
		if w, is := o.err.(*wrong); is {
			bad = append(bad, w)
		}
		accepted = accepted || o.accepted
	}
	kinds, sizes, err := r.examples(ctx, p, f, bad)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Made++
	switch {
	case accepted:
		r.result.Accepted++
	default:
		r.result.Refused++
	}
	if len(bad) > 0 {
		r.result.Wrong++
	}
	if r.result.Made%2000 == 0 {
		fmt.Fprintf(r.Log, "%d made, %d wrong\n", r.result.Made, r.result.Wrong)
	}
	for _, c := range p.changes {
		r.tally(c, 1, accepted)
	}
	for _, o := range f.outcomes {
		t := r.operations[o.operation]
		if t == nil {
			t = new([3]int)
			r.operations[o.operation] = t
		}
		switch _, is := o.err.(*wrong); {
		case is:
			t[2]++
		case o.accepted:
			t[0]++
		default:
			t[1]++
		}
	}
	for name, example := range kinds {
		k := r.wrong[name]
		if k == nil {
			k = &Breach{Name: name, Example: example, size: sizes[name]}
			r.wrong[name] = k
			fmt.Fprintf(r.Log, "at %d: %s\n      %s\n", r.result.Made, name, example)
		}
		if k.Count++; sizes[name] < k.size {
			k.Example, k.size = example, sizes[name]
		}
	}
	return nil
}

// examples are the shortest that show what is wrong, by the name of each breach, and how long they are.
func (r *run) examples(
	ctx context.Context, p plan, f found, bad []*wrong,
) (kinds map[string]string, sizes map[string]int, err error) {
	kinds, sizes = map[string]string{}, map[string]int{}
	for _, w := range bad {
		small, g, err := r.shrink(ctx, p, f, w.kind)
		if err != nil {
			return nil, nil, err
		}
		var names []string
		for _, c := range small.changes {
			names = append(names, r.kinds[c.kind].name)
		}
		slices.Sort(names)
		name := w.kind + " <- " + strings.Join(slices.Compact(names), " + ")
		for _, o := range g.outcomes {
			if v, is := o.err.(*wrong); is && v.kind == w.kind {
				w = v
			}
		}
		kinds[name] = fmt.Sprintf("seed %d, %v, %s, %s, reboots %v, version %s, %+v, staged %v\n      %s\n      => "+
			"%s (runs %s)", p.seed, p.loader, g.layout, g.day, p.reboots, p.judge.version, brief(p.judge.options),
			p.judge.staged, strings.Join(g.changes, "\n      "), w.detail, g.runs)
		sizes[name] = len(kinds[name]) + 1000*len(small.changes)
	}
	return kinds, sizes, nil
}

func brief(o upgrade.Options) string {
	return fmt.Sprintf("tries %d %s", max(o.Tries, 1), o.Way)
}

func (r *run) tally(c change, made int, accepted bool) {
	t := r.changes[r.kinds[c.kind].name]
	if t == nil {
		t = new([2]int)
		r.changes[r.kinds[c.kind].name] = t
	}
	t[0] += made
	if accepted {
		t[1]++
	}
}

// shrink leaves out what is not needed for a kind of wrong.
func (r *run) shrink(ctx context.Context, p plan, f found, kind string) (plan, found, error) {
	for i := 0; i < len(p.changes); {
		q := p
		q.changes = slices.Delete(slices.Clone(p.changes), i, i+1)
		g, err := r.try(ctx, q)
		if err != nil {
			return p, f, err
		}
		if slices.ContainsFunc(g.outcomes, func(o outcome) bool {
			w, is := o.err.(*wrong)
			return is &&
				w.kind == kind
		}) {
			p, f = q, g
			continue
		}
		i++
	}
	return p, f, nil
}

// tell says everything of one environment.
func (r *run) tell(p plan, f found) {
	fmt.Fprintf(r.Log, "%v, %s, %q, reboots %v; upgrade to %s, %s, staged %v\n", p.loader, f.layout, f.day, p.reboots,
		p.judge.version, brief(p.judge.options), p.judge.staged)
	for _, c := range f.changes {
		fmt.Fprintf(r.Log, "  %s\n", c)
	}
	fmt.Fprintf(r.Log, "made %v: runs %s\n", f.made, f.runs)
	for _, o := range f.outcomes {
		fmt.Fprintf(r.Log, "%s: accepted %v: %v\n", o.operation, o.accepted, o.err)
	}
}

func (r *run) report() {
	for _, k := range r.wrong {
		r.result.Breaches = append(r.result.Breaches, *k)
	}
	slices.SortFunc(r.result.Breaches, func(a, b Breach) int { return b.Count - a.Count })
	for _, k := range r.result.Breaches {
		fmt.Fprintf(r.Log, "%d times %s\n      %s\n", k.Count, k.Name, k.Example)
	}
	for _, name := range slices.Sorted(maps.Keys(r.operations)) {
		t := r.operations[name]
		fmt.Fprintf(r.Log, "%-56s accepted %d, refused %d, wrong %d\n", name, t[0], t[1], t[2])
	}
	for _, name := range slices.Sorted(maps.Keys(r.changes)) {
		t := r.changes[name]
		fmt.Fprintf(r.Log, "%-56s made %d, accepted %d\n", name, t[0], t[1])
	}
	fmt.Fprintf(r.Log, "%d tried\n", r.next.Load())
}
