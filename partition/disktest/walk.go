package disktest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
)

// walk is the state of one enumeration.
type walk struct {
	o       Options
	durable *Disk // base and everything flushed; replaced, never changed, once crashes refer to it
	live    *Disk // everything issued
	gap     []gapBlock
	at      map[int64]int // block offset to its place in gap
	rand    *rand.Rand

	index, number int
	step, op      string
	finished      bool

	visit func(*Crash) error
	work  chan *Crash
	done  sync.WaitGroup
	stop  atomic.Bool
	once  sync.Once
	err   error
}

// gapBlock is a block written since the last flush.
type gapBlock struct {
	off      int64
	length   int
	versions [][]byte // contents in order of writing, without the old one and without repetitions
	changed  bool     // the operation being taken added a version
	first    bool     // the operation being taken is the first in the gap to write it
	garbage  []byte   // what it holds when destroyed; made when it is needed
}

func (w *walk) take(op Op) {
	w.index, w.step, w.op = op.Index, op.Step, op.String()
	switch op.Action {
	case Write:
		w.live.put(op.Data, op.Off)
		w.dirty(op)
		w.combine(false)
		w.tear(op)
	case Atomic:
		w.durable = w.durable.Clone()
		w.durable.replay(op)
		w.combine(true)
	case Flush:
		// Nothing new can be left: what is durable now was one of the combinations before.
		w.durable = w.durable.Clone()
		for _, g := range w.gap {
			if n := len(g.versions); n > 0 {
				w.durable.put(g.versions[n-1], g.off)
			}
		}
		w.gap, w.at = nil, nil
	}
}

// dirty adds the blocks that op wrote to the gap.
func (w *walk) dirty(op Op) {
	for i := range w.gap {
		w.gap[i].changed, w.gap[i].first = false, false
	}
	if w.at == nil {
		w.at = map[int64]int{}
	}
	size := int64(w.o.Block)
	for off := op.Off / size * size; off < op.Off+int64(len(op.Data)); off += size {
		length := min(size, w.live.size-off)
		var data []byte
		if off >= op.Off && off+length <= op.Off+int64(len(op.Data)) {
			data = op.Data[off-op.Off:][:length]
		} else {
			data = make([]byte, length)
			w.live.pages.read(data, off)
		}
		i, ok := w.at[off]
		if !ok {
			i = len(w.gap)
			w.at[off] = i
			w.gap = append(w.gap, gapBlock{off: off, length: int(length), first: true})
		}
		g := &w.gap[i]
		before := make([]byte, length)
		if len(g.versions) > 0 {
			before = g.versions[len(g.versions)-1]
		} else {
			w.durable.pages.read(before, off)
		}
		// Writing what is there already can destroy a block, but leaves no other content, unless it was unreadable.
		if !bytes.Equal(before, data) || len(g.versions) == 0 && w.durable.spoiled(off, length) {
			g.versions = append(g.versions, data)
			g.changed = true
		}
	}
}

// combine makes the disks that can be left from now on and could not before: those in which a block just written
// has its newest content or is destroyed, or, after a variable was written, all.
func (w *walk) combine(all bool) {
	if w.combinations(1<<w.o.Exhaustive) > 0 {
		w.exhaust(all, -1, intact)
	} else {
		w.sample(false)
	}
	if w.o.NoDestroyed || len(w.gap) == 0 {
		return
	}
	if w.combinations(w.o.Destroyed/2/len(w.gap)) == 0 {
		w.sample(true)
		return
	}
	for i := range w.gap {
		for _, d := range []damage{garbage, unreadable} {
			w.exhaust(all, i, d)
		}
	}
}

// combinations counts the states of the gap's blocks; 0 means more than most.
func (w *walk) combinations(most int) int {
	n := 1
	for _, g := range w.gap {
		if n *= len(g.versions) + 1; n > most {
			return 0
		}
	}
	return n
}

// exhaust makes every combination, with block hurt destroyed when it is not -1.
func (w *walk) exhaust(all bool, hurt int, d damage) {
	// A block that is destroyed for the first time makes every combination of the others a new one.
	all = all || hurt >= 0 && w.gap[hurt].first
	pick := make([]int, len(w.gap))
	for !w.stop.Load() {
		isNew := all
		for i := range pick {
			isNew = isNew || i != hurt && w.gap[i].changed && pick[i] == len(w.gap[i].versions)
		}
		if isNew {
			w.emit(w.states(pick, hurt, d))
		}
		i := 0
		for ; i < len(pick); i++ {
			if i == hurt {
				continue
			}
			if pick[i]++; pick[i] <= len(w.gap[i].versions) {
				break
			}
			pick[i] = 0
		}
		if i == len(pick) {
			return
		}
	}
}

func (w *walk) states(pick []int, hurt int, d damage) []blockState {
	states := make([]blockState, len(pick))
	for i, v := range pick {
		g := &w.gap[i]
		states[i] = blockState{off: g.off, version: v}
		if v > 0 {
			states[i].data = g.versions[v-1]
		}
		if i == hurt {
			if g.garbage == nil {
				g.garbage = w.garbage(g.off, g.length)
			}
			states[i].damage = d
			states[i].data = g.garbage
		}
	}
	return states
}

// garbage is the same for the same seed and block.
func (w *walk) garbage(off int64, length int) []byte {
	r := rand.New(rand.NewPCG(uint64(w.o.Seed), uint64(off)+2))
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (w *walk) emit(states []blockState) {
	w.number++
	if w.o.Only != 0 && w.number != w.o.Only {
		return
	}
	sort.Slice(states, func(i, k int) bool { return states[i].off < states[k].off })
	c := &Crash{Number: w.number, Index: w.index, Step: w.step, Seed: w.o.Seed, Finished: w.finished, op: w.op,
		base: w.durable, states: states}
	if w.work != nil {
		w.work <- c
		return
	}
	w.call(c)
}

func (w *walk) call(c *Crash) {
	if w.stop.Load() {
		return
	}
	if err := w.visit(c); err != nil {
		w.once.Do(func() { w.err = fmt.Errorf("%v: %w", c, err) })
		w.stop.Store(true)
	}
}
