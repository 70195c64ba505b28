package proof

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/partition/disktest"
)

// fate is what became of a mutant.
type fate int

const (
	caught   fate = iota // a crash disk breaks the promise, and the judge says so
	same                 // it leaves no disk that the real program could not leave as well
	harmless             // it leaves other disks, and every one of them keeps the promise
)

// mutant is a trace that a faulty program would have left.
type mutant struct {
	name  string
	trace *disktest.Trace
	at    int     // position of what was changed first
	step  string  // of a dropped flush
	pair  [2]part // what was exchanged, or the writes before and after the dropped flush
}

// state is a crash disk as the judge tells them apart.
type state struct {
	disk    uint64
	allowed label
	done    bool // of a loader that is replaced, which has to be there then
}

// part is what an operation on the disk or the variables is about.
type part struct{ step, kind string }

var errCaught = errors.New("caught")

// mutantOptions walks less than the proof does: small gaps exhaustively, larger ones by samples.
func mutantOptions(seed int64) disktest.Options {
	return disktest.Options{Seed: seed, Exhaustive: 6, Destroyed: 96, Samples: 8}
}

// states are all disks that the operation itself can leave.
func (r *recorded) states(seed int64) (map[state]bool, error) {
	all := map[state]bool{}
	for _, o := range []disktest.Options{{Seed: seed, Samples: 64}, mutantOptions(seed)} {
		err := r.trace.Crashes(o, func(c *disktest.Crash) error {
			m, err := r.from.crashed(c)
			if err == nil {
				all[state{r.view.all(m), r.allowed(c.Step, c.Index, c.Finished), r.op.loader && c.Finished}] = true
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// try judges the disks of a mutant that the real program does not leave.
func (r *recorded) try(m mutant, known map[state]bool, seed int64) (fate, error) {
	if err := r.ordered(m.trace); err != nil {
		return caught, err
	}
	fake := *r
	fake.trace = m.trace
	fake.metaAt = make([]bool, len(m.trace.Ops)+1)
	for i := range fake.metaAt {
		fake.metaAt[i] = true
	}
	looked, wholes := map[state]bool{}, 0
	truths := map[string]int{} // by step
	err := fake.trace.Crashes(mutantOptions(seed), func(c *disktest.Crash) error {
		off, err := fake.from.crashed(c)
		if err != nil {
			return err
		}
		s := state{r.view.all(off), r.allowed(c.Step, c.Index, c.Finished), r.op.loader && c.Finished}
		if known[s] || looked[s] {
			return nil
		}
		looked[s] = true
		if _, err := fake.judge(c); err != nil {
			return fmt.Errorf("%w: %w", errCaught, err)
		}
		if err := fake.comesBack(c); err != nil {
			return fmt.Errorf("%w: %w", errCaught, err)
		}
		// What takes milliseconds is done for the first disks of each step.
		if destroyed, _ := c.Destroyed(); !destroyed && wholes < 300 {
			wholes++
			if err := fake.whole(c); err != nil {
				return fmt.Errorf("%w: %w", errCaught, err)
			}
		}
		if truths[c.Step]++; truths[c.Step] > 6 {
			return nil
		}
		booted, l, err := fake.truth(c)
		if err == nil && truths[c.Step] <= 1 {
			err = fake.again(booted, l)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errCaught, err)
		}
		return nil
	})
	switch {
	case errors.Is(err, errCaught):
		return caught, err
	case err != nil:
		return 0, err
	case len(looked) == 0:
		return same, nil
	}
	return harmless, nil
}

// flushes drops each flush in turn.
func (r *recorded) flushes() (list []mutant) {
	for _, i := range r.trace.Flushes() {
		step := r.trace.Ops[i].Step
		m := mutant{name: fmt.Sprintf("without the flush at %d (%s)", i, step), trace: r.trace.DropFlush(i), at: i,
			step: step}
		for k, o := range r.trace.Ops {
			if o.Action == disktest.Write && (k < i || m.pair[1].kind == "") {
				at := min(max(k-i, 0), 1)
				m.pair[at] = part{o.Step, r.view.kind(o)}
			}
		}
		list = append(list, m)
	}
	return list
}

// swaps exchanges each pair of writes and variables. Pairs of writes in one gap are left out: they may arrive in either
// order anyway.
func (r *recorded) swaps() (list []mutant, skipped int) {
	gap, n := make([]int, len(r.trace.Ops)), 0
	for i, o := range r.trace.Ops {
		if o.Action != disktest.Write {
			n++
		}
		gap[i] = n
	}
	for i, a := range r.trace.Ops {
		for j := i + 1; j < len(r.trace.Ops); j++ {
			b := r.trace.Ops[j]
			switch {
			case a.Action == disktest.Flush || b.Action == disktest.Flush:
			case a.Step == bootStep || b.Step == bootStep: // no program's fault
			case a.Action == disktest.Write && b.Action == disktest.Write && gap[i] == gap[j] && !overlap(a, b):
				skipped++
			default:
				name := fmt.Sprintf("%s, %v exchanged with %s, %v", r.view.kind(a), a, r.view.kind(b), b)
				list = append(list, mutant{name, r.trace.Swap(i, j), i, "", [2]part{{a.Step, r.view.kind(a)},
					{b.Step, r.view.kind(b)}}})
			}
		}
	}
	return list, skipped
}

func overlap(a, b disktest.Op) bool {
	return a.Off < b.Off+int64(len(b.Data)) && b.Off < a.Off+int64(len(a.Data))
}
