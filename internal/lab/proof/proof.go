// Package proof cuts the power at every write of every operation and looks at what boots.
//
// Start with Run, or `make proof`. It records each operation of the table in docs/architecture.md, from every state
// that a machine can be in, on a disk in memory; makes each disk that a power cut can leave (package
// partition/disktest); boots it with the model of firmware and loader (package bootloader/predict); and holds what
// boots, and what the system then says, against the table. docs/proof.md says what is assumed, what is looked at, and
// what is not.
//
// The proof proves itself: faulty programs, made by dropping flushes, exchanging writes and changing the order by hand,
// must be told from the real one.
package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/partition/disktest"
)

// Options chooses how much is looked at.
type Options struct {
	Seed     int64  // 0 takes one from the clock
	Distinct int    // random histories go on until so many disks were seen that differ for a loader; 0: there are none
	Lived    int    // and until so many of these were seen in histories
	Workers  int    // 0 is 1
	Only     string // operations whose names begin so; empty is all
	Loader   string // only this loader; empty is all
	Short    bool   // one start for each operation and few disks, for go test
	Counting bool   // only trials that systemd-boot counts in a name, which can strand a machine: see docs/proof.md
	Log      io.Writer
}

// Result is what a run found.
type Result struct {
	Operations, Writes, Images, Distinct, Read, Told, Again int
	Lived                                                   int // of Distinct, those of histories
	Mutants, Caught                                         int
	Bricks                                                  []error // the first hundred
	Escaped                                                 []string
	Seconds                                                 float64
}

// String is the last line of a run.
func (r Result) String() string {
	return fmt.Sprintf("proof: operations=%d writes=%d images=%d distinct=%d bricks=%d mutants=%d/%d seconds=%.0f",
		r.Operations, r.Writes, r.Images, r.Distinct, len(r.Bricks), r.Caught, r.Mutants, r.Seconds)
}

// Err says what broke, nil when nothing did.
func (r Result) Err() error {
	errs := slices.Clone(r.Bricks)
	for _, m := range r.Escaped {
		errs = append(errs, fmt.Errorf("mutant not caught: %s", m))
	}
	return errors.Join(errs...)
}

// proof is one run.
type proof struct {
	Options
	worlds []world

	begin    time.Time
	mu       sync.Mutex
	seen     map[uint64]bool // by what a loader can get at
	read     map[uint64]bool // by what a loader read
	distinct int
	tabled   int // of distinct, those before the histories
	rows     map[place]*count
	order    []place
	runs     int
	bricks   []error
	mutants  map[string]*tally // by kind
	escaped  []string
}

// world is one loader, and machines to begin with: one that runs each slot.
type world struct {
	kit   *Kit
	bases map[bootloader.Slot]*machine
}

// clone returns a world whose machines are its own.
func (w world) clone() world {
	c := world{w.kit, map[bootloader.Slot]*machine{}}
	for s, m := range w.bases {
		c.bases[s] = m.clone()
	}
	return c
}

// newWorlds makes those of the loaders that are looked at.
func newWorlds(ctx context.Context, dir string, only string) (worlds []world, err error) {
	for _, l := range append(loaders.Names(), rooted) {
		if only != "" && l != only {
			continue
		}
		w := world{bases: map[bootloader.Slot]*machine{}}
		if l == rooted {
			w.kit, err = RootedKit(ctx, filepath.Join(dir, l))
		} else {
			w.kit, err = TinyKit(ctx, filepath.Join(dir, l), l)
		}
		if err != nil {
			return nil, err
		}
		for _, s := range bootloader.Slots() {
			if w.bases[s], err = base(w.kit, s); err != nil {
				return nil, fmt.Errorf("%s: a machine to begin with: %w", l, err)
			}
		}
		worlds = append(worlds, w)
	}
	return worlds, nil
}

// operations are the rows of a loader that are looked at.
func (p *proof) operations(k *Kit) []operation {
	if p.Counting {
		return byWay(sdboot.Counting)
	}
	return k.operations()
}

// Run looks at everything. Its error is of the run itself; what was found is in the result.
func Run(ctx context.Context, dir string, o Options) (Result, error) {
	begin := time.Now()
	if o.Seed == 0 {
		o.Seed = begin.UnixNano()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	worlds, err := newWorlds(ctx, dir, o.Loader)
	if err != nil {
		return Result{}, err
	}
	p := &proof{Options: o, worlds: worlds, begin: begin, seen: map[uint64]bool{}, read: map[uint64]bool{},
		rows: map[place]*count{}, mutants: map[string]*tally{}}
	p.say("seed %d", o.Seed)
	if err := p.table(); err != nil {
		return Result{}, err
	}
	for _, w := range worlds {
		if w.kit.Loader == loaders.GRUBUEFI || w.kit.either() {
			continue // an order is the same one on BIOS
		}
		if err := p.byHand(w); err != nil {
			return Result{}, err
		}
	}
	p.tabled = p.distinct
	if o.Distinct > 0 {
		err = p.parallel(max(o.Workers, 1), func(n int) error {
			var own []world
			p.mu.Lock()
			for _, w := range worlds {
				own = append(own, w.clone())
			}
			p.mu.Unlock()
			return p.histories(n, own)
		})
		if err != nil {
			return Result{}, err
		}
	}
	return p.result(begin), nil
}

func (p *proof) say(format string, args ...any) { fmt.Fprintf(p.Log, format+"\n", args...) }

// parallel calls do in n goroutines and returns the first error.
func (p *proof) parallel(n int, do func(worker int) error) error {
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { errs[i] = do(i) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// task is one operation from one start.
type task struct {
	world world
	op    operation
	start start
	side  bootloader.Slot
	first bool // of its operation's: every gap of twelve blocks is walked completely
	swaps bool // also exchange its writes, and kill the program instead of the machine
}

// tasks lists a loader's table: each operation, from each of its starts, with either slot running.
func (p *proof) tasks(w world) (list []task) {
	for _, op := range p.operations(w.kit) {
		if !strings.HasPrefix(op.name, p.Only) {
			continue
		}
		for i, s := range op.starts {
			for _, side := range bootloader.Slots() {
				first := i == 0 && side == bootloader.A
				if s.make == nil && side == bootloader.B || p.Short && (!first || op.long) {
					continue
				}
				if p.Short && w.kit.either() && op.name != "confirm" {
					continue // GRUB has the others
				}
				if (w.kit.Loader == loaders.GRUBUEFI || w.kit.either() || w.kit.Root) && side == bootloader.B {
					continue
				}
				swaps := first || op.name == "upgrade" && side == bootloader.A && s.name == "target complete"
				list = append(list, task{w, op, s, side, first, swaps && !p.Short && s.make != nil && !op.killed})
			}
		}
	}
	return list
}

func (p *proof) table() error {
	var tasks []task
	for _, w := range p.worlds {
		tasks = append(tasks, p.tasks(w)...)
	}
	recorded := make([]*recorded, len(tasks))
	for i, t := range tasks { // one after the other: they share the bases
		m := blank(t.world.kit)
		if t.start.make != nil {
			m = t.world.bases[t.side].clone()
			if err := t.start.make(m, t.side.Other()); err != nil {
				return fmt.Errorf("%s: %s, %s: %w", t.world.kit.Name(), t.op.name, t.start.name, err)
			}
		}
		var err error
		if recorded[i], err = record(t.op, t.start, t.side, m); err != nil {
			return fmt.Errorf("%s: %s, %s, slot %v runs: %w", t.world.kit.Name(), t.op.name, t.start.name, t.side, err)
		}
	}
	p.runs = len(tasks)
	next := make(chan int, len(tasks))
	for i := range tasks {
		next <- i
	}
	close(next)
	return p.parallel(max(p.Workers, 1), func(int) error {
		for i := range next {
			r, begin := recorded[i], time.Now()
			if p.Short {
				p.walk(r, disktest.Options{Seed: p.Seed, Block: 512, Exhaustive: 5, Destroyed: 64, Samples: 4}, sparse)
			} else {
				o := disktest.Options{Seed: p.Seed, Block: 512}
				if !tasks[i].first {
					o.Destroyed = 4096
				}
				p.walk(r, o, full)
				o.Block = 4096
				p.walk(r, o, medium)
			}
			if tasks[i].swaps {
				p.killed(r)
			}
			if err := p.mutate(r, tasks[i].swaps); err != nil {
				return err
			}
			if !p.Short {
				p.mu.Lock()
				p.say("%5.0f s  %v", time.Since(begin).Seconds(), r)
				p.mu.Unlock()
			}
		}
		return nil
	})
}

// killed kills the program at each place of a trace.
func (p *proof) killed(r *recorded) {
	for n := range len(r.trace.Ops) + 1 {
		c := count{Again: 1}
		if err := r.killed(n); err != nil {
			c.Bricks++
			p.brick(fmt.Errorf("%v, killed after %d of %d: %w", r, n, len(r.trace.Ops), err))
		}
		p.row(r, "(program killed)", c)
	}
}

// place is a row of the report.
type place struct {
	loader   string
	op, step string
}

func (p *proof) row(r *recorded, step string, c count) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := place{r.from.kit.Name(), r.op.name, step}
	if p.rows[key] == nil {
		p.rows[key] = &count{}
		p.order = append(p.order, key)
	}
	p.rows[key].add(c)
}

// new counts a disk if none of this run was like it.
func (p *proof) new(v verdict) (distinct, read int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.seen[v.seen] {
		p.seen[v.seen] = true
		distinct = 1
		if p.distinct++; p.distinct%10_000 == 0 && !p.Short {
			p.say("%5.0f s  %d disks that differ for a loader", time.Since(p.begin).Seconds(), p.distinct)
		}
	}
	if !p.read[v.read] {
		p.read[v.read] = true
		read = 1
	}
	return distinct, read
}

func (p *proof) brick(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bricks) < 100 {
		p.bricks = append(p.bricks, err)
		p.say("BRICK %v", err)
	}
}
