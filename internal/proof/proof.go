// Package proof cuts the power at every write of every operation and looks at what boots.
//
// Start with Run, or `make proof`. It records each operation of the table in docs/architecture.md, from every state that a
// machine can be in, on a disk in memory; makes each disk that a power cut can leave (package partition/disktest); boots
// it with the model of firmware and loader (package bootloader/loadertest); and holds what boots, and what the system
// then says, against the table. docs/proof.md says what is assumed, what is looked at, and what is not.
//
// The proof proves itself: faulty programs, made by dropping flushes, exchanging writes and changing the order by hand, must be
// told from the real one.
package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition/disktest"
)

// Options chooses how much is looked at.
type Options struct {
	Seed     int64  // 0 takes one from the clock
	Distinct int    // random histories go on until so many disks were seen that differ for a loader
	Workers  int    // 0 is 1
	Only     string // operations whose names begin so; empty is all
	Short    bool   // one start for each operation and few disks, for go test
	Log      io.Writer
}

// Result is what a run found.
type Result struct {
	Operations, Writes, Images, Distinct, Read, Told, Again int
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
	kit *Kit

	begin    time.Time
	mu       sync.Mutex
	seen     map[uint64]bool // by what a loader can get at
	read     map[uint64]bool // by what a loader read
	distinct int
	rows     map[[2]string]*count // by operation and step
	order    [][2]string
	runs     int
	bricks   []error
	mutants  map[string]*tally // by kind
	escaped  []string
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
	kit, err := TinyKit(ctx, dir)
	if err != nil {
		return Result{}, err
	}
	p := &proof{Options: o, kit: kit, begin: begin, seen: map[uint64]bool{}, read: map[uint64]bool{}, rows: map[[2]string]*count{}, mutants: map[string]*tally{}}
	p.say("seed %d", o.Seed)
	bases := map[bootloader.Slot]*machine{}
	for _, s := range bootloader.Slots {
		if bases[s], err = base(kit, s); err != nil {
			return Result{}, fmt.Errorf("a machine to begin with: %w", err)
		}
	}
	if err := p.table(bases); err != nil {
		return Result{}, err
	}
	if err := p.byHand(bases); err != nil {
		return Result{}, err
	}
	if o.Distinct > 0 {
		err = p.parallel(max(o.Workers, 1), func(n int) error {
			own := map[bootloader.Slot]*machine{}
			p.mu.Lock()
			for s, m := range bases {
				own[s] = m.clone()
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
	op    operation
	start start
	side  bootloader.Slot
	swaps bool // also exchange its writes, and kill the program instead of the machine
}

// tasks lists the table: each operation, from each of its starts, with either slot running.
func (p *proof) tasks() (list []task) {
	for _, op := range operations() {
		if !strings.HasPrefix(op.name, p.Only) {
			continue
		}
		for i, s := range op.starts {
			for _, side := range bootloader.Slots {
				first := i == 0 && side == bootloader.A
				if s.make == nil && side == bootloader.B || p.Short && (!first || op.long) {
					continue
				}
				swaps := first || op.name == "upgrade" && side == bootloader.A && s.name == "target complete"
				list = append(list, task{op, s, side, swaps && !p.Short && s.make != nil && !op.killed})
			}
		}
	}
	return list
}

func (p *proof) table(bases map[bootloader.Slot]*machine) error {
	tasks := p.tasks()
	recorded := make([]*recorded, len(tasks))
	for i, t := range tasks { // one after the other: they share the bases
		m := blank(p.kit)
		if t.start.make != nil {
			m = bases[t.side].clone()
			if err := t.start.make(m, t.side.Other()); err != nil {
				return fmt.Errorf("%s, %s: %w", t.op.name, t.start.name, err)
			}
		}
		var err error
		if recorded[i], err = record(t.op, t.start, t.side, m); err != nil {
			return fmt.Errorf("%s, %s, slot %v runs: %w", t.op.name, t.start.name, t.side, err)
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
				p.walk(r, disktest.Options{Seed: p.Seed, Block: 512}, full)
				p.walk(r, disktest.Options{Seed: p.Seed, Block: 4096}, full)
			}
			if tasks[i].swaps {
				p.killed(r)
			}
			if err := p.mutate(r, tasks[i].swaps); err != nil {
				return err
			}
			if !p.Short {
				p.mu.Lock()
				p.say("%5.0f s  %s, %s, slot %v runs", time.Since(begin).Seconds(), r.op.name, r.start, r.side)
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
			p.brick(fmt.Errorf("%s, %s, slot %v runs, killed after %d of %d: %w", r.op.name, r.start, r.side, n, len(r.trace.Ops), err))
		}
		p.row(r.op.name, "(program killed)", c)
	}
}

func (p *proof) row(op, step string, c count) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := [2]string{op, step}
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
