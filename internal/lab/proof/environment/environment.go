// Package environment makes machines as others leave them, has every operation of package upgrade done on each, and
// holds what boots against the table in docs/architecture.md: an operation is refused before its first write, or it
// keeps every promise to its end, fallback and confirm included.
//
// Start with Run. An environment is a day in the life of a healthy machine and one to four disturbances; all of it
// follows from one seed. What boots is asked of the model of firmware and loader (package bootloader/predict); of
// package upgrade's own rehearsal the judge knows nothing. docs/proof.md says what is made and what is asked.
package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/lab/proof"
	"github.com/pawl-os/pawl/internal/unrehearsed"
	"github.com/pawl-os/pawl/upgrade"
)

// Options chooses how much is looked at.
type Options struct {
	Seed    int64  // of the first environment; the next has the next; 0 takes one from the clock
	Made    int    // go on until so many environments were made
	Layouts int    // boot file systems for each loader; 0 is 16
	Workers int    // 0 is 1
	Blind   int    // then so many more with the rehearsal switched off, in which promises must be broken
	Loader  string // only this one; empty is all
	Single  bool   // only the environment of Seed, of which everything is told
	Log     io.Writer
}

// run is one run.
type run struct {
	Options
	lives map[string][]*life
	kinds []disturbance
	tallies

	next atomic.Int64
	made atomic.Int64
}

// Run makes environments until there are enough, with images in dir. Its error is of the run itself: see Result.Err.
func Run(ctx context.Context, dir string, o Options) (Result, error) {
	begin := time.Now()
	r, err := newRun(ctx, dir, o)
	if err != nil {
		return Result{}, err
	}
	if err := r.walk(ctx); err != nil {
		return Result{}, err
	}
	r.report()
	r.result.Seed, r.result.Blind = r.Seed, -1
	if o.Blind > 0 && !o.Single {
		blind := &run{Options: r.Options, lives: r.lives, kinds: r.kinds, tallies: newTallies()}
		blind.Made, blind.Log = o.Blind, io.Discard
		if err := blind.walk(unrehearsed.Context(ctx)); err != nil {
			return Result{}, err
		}
		r.result.Blind = blind.result.Wrong
	}
	r.result.Seconds = time.Since(begin).Seconds()
	return r.result, nil
}

func newRun(ctx context.Context, dir string, o Options) (*run, error) {
	if o.Seed == 0 {
		o.Seed = time.Now().UnixNano() % 1_000_000_000
	}
	if o.Layouts == 0 {
		o.Layouts = 16
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	r := &run{Options: o, lives: map[string][]*life{}, kinds: disturbances(), tallies: newTallies()}
	// A disk that both firmwares start (loaders.GRUB) is no other machine than these, but for the moves between them.
	for _, loader := range []string{loaders.SystemdBoot, loaders.GRUBBIOS, loaders.GRUBUEFI} {
		plain, err := proof.TinyKit(ctx, filepath.Join(dir, loader), loader)
		if err != nil {
			return nil, err
		}
		rooted, err := proof.TinyRootedKit(ctx, filepath.Join(dir, loader+"-rooted"), loader)
		if err != nil {
			return nil, err
		}
		for i, l := range layouts(o.Layouts, rand.New(rand.NewSource(1))) {
			kit := plain
			if hasRoots(i) {
				kit, l.roots = rooted, true
			}
			r.lives[loader] = append(r.lives[loader], &life{kit: kit, layout: l})
		}
	}
	fmt.Fprintf(o.Log, "environments from seed %d\n", o.Seed)
	return r, nil
}

// walk has the workers make environments.
func (r *run) walk(ctx context.Context) error {
	errs := make([]error, max(r.Workers, 1))
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { errs[i] = r.work(ctx) })
	}
	wait.Wait()
	return errors.Join(errs...)
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
	p := plan{seed: seed, loader: pick(d, loaders.SystemdBoot, loaders.SystemdBoot, loaders.SystemdBoot,
		loaders.GRUBBIOS, loaders.GRUBUEFI), day: d.Intn(1000), reboots: d.Intn(5) > 1}
	p.life = d.Intn(len(r.lives[p.loader]))
	for range pick(d, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4) {
		p.changes = append(p.changes, change{choose(r.kinds, p.loader, d), d.Int63()})
	}
	p.judge.version = "1.2.2"
	if p.loader == loaders.SystemdBoot && d.Intn(5) == 0 {
		p.judge.version = "1.2.9" // a kernel and an initramfs
	} else if p.loader != loaders.GRUBBIOS && d.Intn(5) == 0 {
		p.judge.version = otherLoader
	} else if d.Intn(8) == 0 {
		p.judge.version = pick(d, "1.2.10", "1.2.11") // arguments behind two hyphens
	}
	p.judge.options = upgrade.Options{Tries: pick(d, 0, 0, 0, 1, 2, 3), Preserve: d.Intn(2) == 0}
	if p.loader == loaders.SystemdBoot && p.judge.version != "1.2.9" && d.Intn(5) == 0 {
		p.judge.options.Way = "boot-next"
	}
	p.judge.staged, p.judge.plans = d.Intn(6) == 0, d.Intn(6) == 0 // each is rehearsed once more
	p.judge.promise, p.judge.second = d.Intn(5), d.Intn(5) < 2
	if hasRoots(p.life) {
		p.changes = append(p.changes, r.rootChanges(d)...)
	}
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
	m.later = "later-"
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
		f.outcomes = []outcome{{"started", false, broken("started changes what boots", "%v, was %v: %v", now, old,
			err)}}
		return f, nil
	}
	j := p.judge
	j.ctx, j.m, j.old, j.others, j.ordered = ctx, m, old, others, ordered
	f.outcomes = j.ask()
	return f, nil
}
