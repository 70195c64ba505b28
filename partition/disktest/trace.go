package disktest

import "fmt"

// Action says what an operation did.
type Action int

// The kinds of operations.
const (
	Write  Action = iota // Off and Data
	Flush                // everything before it is durable
	Atomic               // Key and Value; a nil value is a deletion
)

// Op is one recorded operation.
type Op struct {
	Action Action
	Off    int64  // bytes
	Data   []byte // what was written; not to be changed
	Key    string
	Value  []byte
	Step   string // as Disk.Step named it
	Index  int    // position in the trace, from 0
}

// String describes the operation in one line.
func (o Op) String() string {
	s := fmt.Sprintf("op %d: ", o.Index)
	switch o.Action {
	case Write:
		s += fmt.Sprintf("write %d bytes at %d", len(o.Data), o.Off)
	case Flush:
		s += "flush"
	case Atomic:
		s += fmt.Sprintf("set %s to %d bytes", o.Key, len(o.Value))
		if o.Value == nil {
			s = fmt.Sprintf("op %d: delete %s", o.Index, o.Key)
		}
	}
	if o.Step != "" {
		s += fmt.Sprintf(" (step %q)", o.Step)
	}
	return s
}

// Trace is a recording: the content that it began with, and the operations in order. The methods that return a
// *Trace make mutants: traces that another, faulty program would have left. They do not change the receiver.
type Trace struct {
	Ops  []Op
	base *Disk
}

// Base returns a copy of the disk as it was when recording began.
func (t *Trace) Base() *Disk { return t.base.Clone() }

// Final returns the disk after every operation.
func (t *Trace) Final() *Disk { return t.After(len(t.Ops)) }

// After returns the disk after the first n operations, all of them arrived.
func (t *Trace) After(n int) *Disk {
	d := t.base.Clone()
	for _, o := range t.Ops[:n] {
		d.replay(o)
	}
	return d
}

func (d *Disk) replay(o Op) {
	switch o.Action {
	case Write:
		d.put(o.Data, o.Off)
	case Atomic:
		d.setAtomic(o.Key, o.Value)
	}
}

// Flushes returns the positions of the flushes, to drop each in turn.
func (t *Trace) Flushes() []int { return t.positions(Flush) }

// Writes returns the positions of the writes, to swap them in pairs.
func (t *Trace) Writes() []int { return t.positions(Write) }

func (t *Trace) positions(k Action) (at []int) {
	for i, o := range t.Ops {
		if o.Action == k {
			at = append(at, i)
		}
	}
	return at
}

// DropFlush returns the trace without the flush at position i. It panics when there is none, since a mutant that
// changes nothing proves nothing.
func (t *Trace) DropFlush(i int) *Trace {
	if t.Ops[i].Action != Flush {
		panic(fmt.Sprintf("disktest: drop flush: %v", t.Ops[i]))
	}
	return t.filter(func(o Op) bool { return o.Index != i })
}

// DropStep returns the trace without the operations of the named step. It panics when there are none.
func (t *Trace) DropStep(name string) *Trace {
	m := t.filter(func(o Op) bool { return o.Step != name })
	if len(m.Ops) == len(t.Ops) {
		panic(fmt.Sprintf("disktest: drop step: no step %q in the trace", name))
	}
	return m
}

// Swap returns the trace with the operations at positions i and j exchanged; each keeps its step.
func (t *Trace) Swap(i, j int) *Trace {
	m := t.filter(func(Op) bool { return true })
	m.Ops[i], m.Ops[j] = m.Ops[j], m.Ops[i]
	m.Ops[i].Index, m.Ops[j].Index = i, j
	return m
}

func (t *Trace) filter(keep func(Op) bool) *Trace {
	m := &Trace{base: t.base}
	for _, o := range t.Ops {
		if keep(o) {
			o.Index = len(m.Ops)
			m.Ops = append(m.Ops, o)
		}
	}
	return m
}
