package disktest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Options chooses which crash disks are made. The zero value makes the full set.
type Options struct {
	Block      int // bytes that arrive or are destroyed as one: 512 (default) or 4096
	Exhaustive int // up to 2^Exhaustive combinations of old and new in a gap are all made; default 12
	// up to so many disks with a destroyed block are all made at one operation; default 98304, a gap of 12 blocks
	Destroyed   int
	Samples     int  // disks for each write or variable in a larger gap, and as many with a destroyed block; default 32
	NoDestroyed bool // no garbage and no unreadable blocks
	// Torn says of which writes of one sector of 512 bytes only the first bytes, or only the last, may have arrived, at
	// each byte, while the rest of the gap is old, or new; nil is none. It goes with a Block of 512.
	Torn    func(Op) bool
	Seed    int64 // of samples and garbage; 0 takes one from the clock. Errors name it
	Only    int   // visit only the crash disk of this number, to look at it again with its seed
	Workers int   // goroutines that call visit; default 1
}

func (o Options) withDefaults() Options {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Block, 512)
	set(&o.Exhaustive, 12)
	set(&o.Destroyed, 98304)
	set(&o.Samples, 32)
	set(&o.Workers, 1)
	if o.Seed == 0 {
		o.Seed = time.Now().UnixNano()
	}
	return o
}

// Crash is one disk that a power cut can leave.
type Crash struct {
	Number int    // from 1, in the order of the walk; the same for the same trace and options
	Index  int    // position of the last operation that was begun; -1 before the first
	Step   string // the step of that operation
	Seed   int64  // the walk's seed
	// Finished says that power failed after the whole trace: what the recorded program reported as done must be there.
	Finished bool

	op     string
	base   *Disk // everything durable
	states []blockState
}

// blockState is what became of one block of the gap.
type blockState struct {
	off     int64
	data    []byte // nil when old
	version int    // 0 is old
	damage  damage
	tear    string // which bytes are new
}

type damage int

const (
	intact damage = iota
	garbage
	unreadable
	torn
)

// Device returns the disk as the next boot finds it. It belongs to the caller: each call returns a new one.
func (c *Crash) Device() *Disk {
	d := c.base.Clone()
	for _, s := range c.states {
		if s.data != nil {
			d.put(s.data, s.off)
		}
		if s.damage == unreadable {
			d.spoil(s.off, int64(len(s.data)))
		}
	}
	return d
}

// Destroyed reports whether a block was destroyed or torn while it was written, and whether it cannot be read since.
func (c *Crash) Destroyed() (destroyed, cannotBeRead bool) {
	for _, s := range c.states {
		if s.damage != intact {
			return true, s.damage == unreadable
		}
	}
	return false, false
}

// Atomics returns the variables as the next boot finds them. The values must not be changed.
func (c *Crash) Atomics() map[string][]byte { return c.base.Atomics() }

// String says after which operation power failed and what became of the blocks that were not flushed.
func (c *Crash) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "crash %d (seed %d) at %s", c.Number, c.Seed, c.op)
	for i, s := range c.states {
		if i == 0 {
			b.WriteString("; not flushed:")
		}
		if i == 40 {
			fmt.Fprintf(&b, " and %d more blocks", len(c.states)-i)
			break
		}
		fmt.Fprintf(&b, " %d=", s.off)
		switch {
		case s.damage == garbage:
			b.WriteString("garbage")
		case s.damage == unreadable:
			b.WriteString("unreadable")
		case s.damage == torn:
			fmt.Fprintf(&b, "torn(%s)", s.tear)
		case s.version == 0:
			b.WriteString("old")
		case s.version == 1:
			b.WriteString("new")
		default:
			fmt.Fprintf(&b, "version %d", s.version)
		}
	}
	return b.String()
}

// Crashes calls visit for every disk that a power cut during the trace can leave, from the one before the first
// operation to the one after the last. Each is made once, at the first operation at which it can occur; those that are
// still possible after the last operation, one when that was a flush, are made once more with Finished set. It returns
// visit's first error, with the crash that caused it, and then makes no more. With several workers visit is called
// from several goroutines at once.
func (t *Trace) Crashes(o Options, visit func(c *Crash) error) error {
	o = o.withDefaults()
	if o.Block != 512 && o.Block != 4096 {
		return fmt.Errorf("walk crashes: block of %d bytes, want 512 or 4096", o.Block)
	}
	w := &walk{o: o, durable: t.base.Clone(), live: t.base.Clone(), visit: visit,
		rand: rand.New(rand.NewPCG(uint64(o.Seed), 1))}
	if o.Workers > 1 {
		w.work = make(chan *Crash, o.Workers)
	}
	for range o.Workers {
		if w.work == nil {
			break
		}
		w.done.Add(1)
		go func() {
			defer w.done.Done()
			for c := range w.work {
				w.call(c)
			}
		}()
	}
	w.index, w.op = -1, "the start"
	w.emit(nil)
	for _, op := range t.Ops {
		if w.stop.Load() {
			break
		}
		w.take(op)
	}
	if !w.stop.Load() {
		w.op, w.finished = "the end", true
		w.combine(true)
	}
	if w.work != nil {
		close(w.work)
		w.done.Wait()
	}
	return w.err
}

// Count returns the number of disks that Crashes would make.
func (t *Trace) Count(o Options) int {
	n := 0
	o.Workers = 1
	_ = t.Crashes(o, func(*Crash) error { n++; return nil })
	return n
}
