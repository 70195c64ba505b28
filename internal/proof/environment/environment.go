// Package environment makes machines as others leave them, has every operation of package upgrade done on each, and holds what
// boots against the table in docs/architecture.md: an operation is refused before its first write, or it keeps every promise
// to its end, fallback and confirm included.
//
// Start with Run. An environment is a day in the life of a healthy machine and one to four disturbances; all of it follows from
// one seed. What boots is asked of the model of firmware and loader (package bootloader/predict); of package upgrade's own
// rehearsal the judge knows nothing. docs/proof.md says what is made and what is asked.
package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/proof"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/upgrade"
)

// Options chooses how much is looked at.
type Options struct {
	Seed    int64  // of the first environment; the next has the next; 0 takes one from the clock
	Made    int    // go on until so many environments were made
	Layouts int    // boot file systems for each loader; 0 is 16
	Workers int    // 0 is 1
	Without bool   // with the rehearsal switched off
	Loader  string // only this one; empty is all
	Single  bool   // only the environment of Seed, of which everything is told
	Log     io.Writer
}

// Result is what a run found.
type Result struct {
	Seed                           int64 // of the first
	Made, Accepted, Refused, Wrong int
	Seconds                        float64
	Kinds                          []Kind // of what is wrong, most frequent first
}

// Kind is one way in which promises were not kept.
type Kind struct {
	Name    string
	Count   int
	Example string // the shortest that was found
	size    int
}

// String is the last line of a run.
func (r Result) String() string {
	return fmt.Sprintf("environments: made=%d accepted=%d refused=%d wrong=%d", r.Made, r.Accepted, r.Refused, r.Wrong)
}

// run is one run.
type run struct {
	Options
	lives map[string][]*life
	kinds []disturbance

	next       atomic.Int64
	made       atomic.Int64
	mu         sync.Mutex
	result     Result
	wrong      map[string]*Kind
	operations map[string]*[3]int // accepted, refused, wrong
	changes    map[string]*[2]int // by disturbance: made, accepted
}

// Run makes environments until there are enough, with images in dir. Its error is of the run itself.
func Run(ctx context.Context, dir string, o Options) (Result, error) {
	begin := time.Now()
	if o.Seed == 0 {
		o.Seed = begin.UnixNano() % 1_000_000_000
	}
	if o.Layouts == 0 {
		o.Layouts = 16
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	r := &run{Options: o, lives: map[string][]*life{}, kinds: disturbances(), wrong: map[string]*Kind{}, operations: map[string]*[3]int{}, changes: map[string]*[2]int{}}
	for _, loader := range loaders.Names() {
		kit, err := proof.TinyKit(ctx, filepath.Join(dir, loader), loader)
		if err != nil {
			return Result{}, err
		}
		for _, l := range layouts(o.Layouts, rand.New(rand.NewSource(1))) {
			r.lives[loader] = append(r.lives[loader], &life{kit: kit, layout: l})
		}
	}
	fmt.Fprintf(o.Log, "environments from seed %d\n", o.Seed)
	if o.Without {
		ctx = unrehearsed.Context(ctx)
	}
	errs := make([]error, max(o.Workers, 1))
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { errs[i] = r.work(ctx) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return Result{}, err
	}
	r.report()
	r.result.Seed = o.Seed
	r.result.Seconds = time.Since(begin).Seconds()
	return r.result, nil
}

func (r *run) work(ctx context.Context) error {
	for int(r.made.Load()) < r.Made {
		n := r.next.Add(1) - 1
		if r.Single && n > 0 {
			return nil
		}
		p := r.plan(r.Seed + n)
		if r.Loader != "" && p.loader != r.Loader {
			continue
		}
		got, err := r.try(ctx, p)
		if err != nil {
			return fmt.Errorf("environment %d: %w", p.seed, err)
		}
		if got.made {
			r.made.Add(1)
		}
		if r.Single {
			r.tell(p, got)
		}
		if err := r.count(ctx, p, got); err != nil {
			return fmt.Errorf("environment %d: %w", p.seed, err)
		}
	}
	return nil
}

// otherLoader is a version that brings another loader.
const otherLoader = "1.2.6"

// plan is one environment, before it is made. All of it follows from the seed, and a disturbance can be left out of it.
type plan struct {
	seed    int64
	loader  string
	life    int
	day     int // as a fraction of those that there are, in thousandths
	changes []change
	reboots bool // after the disturbances
	judge   judge
}

type change struct {
	kind int
	seed int64
}

func (r *run) plan(seed int64) plan {
	d := rand.New(rand.NewSource(seed))
	p := plan{seed: seed, loader: pick(d, loaders.SystemdBoot, loaders.SystemdBoot, loaders.SystemdBoot, loaders.GRUBBIOS, loaders.GRUBUEFI), day: d.Intn(1000), reboots: d.Intn(5) > 1}
	p.life = d.Intn(len(r.lives[p.loader]))
	for range pick(d, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4) {
		p.changes = append(p.changes, change{choose(r.kinds, p.loader, d), d.Int63()})
	}
	p.judge.version = "1.2.2"
	if p.loader == loaders.SystemdBoot && d.Intn(5) == 0 {
		p.judge.version = "1.2.9" // a kernel and an initramfs
	} else if p.loader != loaders.GRUBBIOS && d.Intn(5) == 0 {
		p.judge.version = otherLoader
	}
	p.judge.options = upgrade.Options{Tries: pick(d, 0, 0, 0, 1, 2, 3), Preserve: d.Intn(2) == 0}
	if p.loader == loaders.SystemdBoot && p.judge.version != "1.2.9" && d.Intn(5) == 0 {
		p.judge.options.Trial = "boot-next"
	}
	p.judge.staged = d.Intn(4) == 0
	p.judge.plans = d.Intn(4) == 0
	p.judge.promise, p.judge.second = d.Intn(5), d.Intn(5) < 2
	return p
}

// found is what became of an environment.
type found struct {
	made     bool
	changes  []string // what was done, in words
	outcomes []outcome
	day      string
	layout   string
	runs     string
}

// try makes an environment and has everything done on it.
func (r *run) try(ctx context.Context, p plan) (f found, err error) {
	l := r.lives[p.loader][p.life]
	days, err := l.live(ctx, int64(p.life))
	if err != nil {
		return f, err
	}
	at := p.day * len(days) / 1000
	m := days[at].m.clone()
	f.day, f.layout = days[at].name, l.layout.String()
	others := map[string][]byte{}
	for _, c := range p.changes {
		d := &disturbed{machine: m, Rand: rand.New(rand.NewSource(c.seed)), days: days, day: at, others: others}
		kind := r.kinds[c.kind]
		said, err := kind.do(d)
		if err != nil {
			return found{}, nil // it cannot be done to this machine
		}
		f.changes = append(f.changes, strings.TrimSuffix(kind.name+": "+said, ": "))
	}
	if p.reboots {
		if err := m.boot(); err != nil {
			return found{}, nil // not modelled
		}
	}
	if _, ok := m.runs(m.last); !ok {
		return found{}, nil
	}
	old, ok, err := settled(m)
	if err != nil || !ok {
		return found{}, nil // broken before anybody did anything, or not modelled
	}
	f.made, f.runs = true, told(m.last)
	ordered, err := m.ordered()
	if err != nil {
		return found{}, nil
	}
	m.disk.writes = 0
	if err := m.with(func(s *upgrade.Machine) error { _, err := s.Started(ctx); return err }); err != nil {
		f.outcomes = []outcome{{"started", false, err}}
		if m.disk.writes == 0 {
			return f, nil
		}
	}
	if now, ok, err := settled(m); err != nil || !ok || now != old {
		f.outcomes = []outcome{{"started", false, broken("started changes what boots", "%v, was %v: %v", now, old, err)}}
		return f, nil
	}
	j := p.judge
	j.ctx, j.m, j.old, j.others, j.ordered = ctx, m, old, others, ordered
	f.outcomes = j.ask()
	return f, nil
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
	kinds := map[string]string{}
	sizes := map[string]int{}
	for _, w := range bad {
		small, g, err := r.shrink(ctx, p, f, w.kind)
		if err != nil {
			return err
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
		kinds[name] = fmt.Sprintf("seed %d, %v, %s, %s, reboots %v, version %s, %+v, staged %v\n      %s\n      => %s (runs %s)", p.seed, p.loader, g.layout, g.day, p.reboots, p.judge.version, brief(p.judge.options), p.judge.staged, strings.Join(g.changes, "\n      "), w.detail, g.runs)
		sizes[name] = len(kinds[name]) + 1000*len(small.changes)
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
			k = &Kind{Name: name, Example: example, size: sizes[name]}
			r.wrong[name] = k
		}
		if k.Count++; sizes[name] < k.size {
			k.Example, k.size = example, sizes[name]
		}
	}
	return nil
}

func brief(o upgrade.Options) string {
	return fmt.Sprintf("tries %d %s", max(o.Tries, 1), o.Trial)
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
		if slices.ContainsFunc(g.outcomes, func(o outcome) bool { w, is := o.err.(*wrong); return is && w.kind == kind }) {
			p, f = q, g
			continue
		}
		i++
	}
	return p, f, nil
}

// tell says everything of one environment.
func (r *run) tell(p plan, f found) {
	fmt.Fprintf(r.Log, "%v, %s, %q, reboots %v; upgrade to %s, %s, staged %v\n", p.loader, f.layout, f.day, p.reboots, p.judge.version, brief(p.judge.options), p.judge.staged)
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
		r.result.Kinds = append(r.result.Kinds, *k)
	}
	slices.SortFunc(r.result.Kinds, func(a, b Kind) int { return b.Count - a.Count })
	for _, k := range r.result.Kinds {
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
