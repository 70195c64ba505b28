package proof

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disktest"
	"github.com/pawl-os/pawl/partition/meta"
)

// recorded is one operation that was run from one start, and all that is needed to judge what a cut of it leaves.
type recorded struct {
	op    operation
	start string
	side  bootloader.Slot
	from  *machine // before the operation
	trace *disktest.Trace

	old, armed, new *system
	tries           int // of armed that are left
	// that a cut may bring back besides: what the loader counted down and nobody has flushed
	most int
	// operations of the trace before the first flush, when the loader wrote something that is not flushed
	lost        int
	counts      int64           // where GRUB's trial.env lies on the disk; 0 where there is none
	attempts    map[string]bool // values of META's attempt that the operation passes through
	lastAttempt string
	metaAt      []bool                   // by index: a write to META is not flushed
	untouchable []area                   // what belongs to others
	loaders     replaced                 // of an operation that replaces the loader
	liar        bool                     // the device changes what is written to it
	damaged     map[bootloader.Slot]bool // slots in which something was damaged before
	view        view
}

// area is a piece of the disk that no operation may change.
type area struct {
	name string
	off  int64
	data []byte
}

// record runs an operation and prepares to judge it.
func record(op operation, s start, side bootloader.Slot, from *machine) (*recorded, error) {
	r := &recorded{op: op, start: s.name, side: side, from: from.clone(), attempts: map[string]bool{},
		damaged: map[bootloader.Slot]bool{}}
	m := from
	if err := r.before(); err != nil {
		return nil, err
	}
	wrote := op.firmware || len(m.unflushed()) > 0
	if err := m.record(); err != nil {
		return nil, err
	}
	m.rehearses = true
	if err := op.do(m); err != nil {
		return nil, err
	}
	m.rehearses = false
	r.trace = m.disk.Trace()
	if wrote {
		r.lost = len(r.trace.Ops) + 1
		if at := r.trace.Flushes(); len(at) > 0 {
			r.lost = at[0]
		}
	}
	return r, r.after()
}

// String names it.
func (r *recorded) String() string {
	return fmt.Sprintf("%s: %s, %s, slot %v runs", r.from.kit.Name(), r.op.name, r.start, r.side)
}

// before finds out what boots now.
func (r *recorded) before() (err error) {
	if r.op.end != stays {
		if r.new, err = r.op.what(r.from); err != nil {
			return err
		}
		if r.new == nil {
			return errors.New("nothing to boot afterwards")
		}
	}
	if r.fresh() {
		return nil
	}
	probe := r.from.clone()
	if r.tries, err = r.trials(probe); err != nil {
		return err
	}
	if r.old, err = probe.running(); err != nil {
		return fmt.Errorf("what boots before the operation: %w", err)
	}
	if r.op.loader {
		if r.loaders, err = r.from.loaders(); err != nil {
			return fmt.Errorf("the loader before the operation: %w", err)
		}
	}
	r.most = r.tries
	for n := range r.from.unflushed() {
		back := r.from.clone()
		if err := back.undo(n + 1); err != nil {
			return err
		}
		tries, err := r.trials(back)
		if err != nil {
			return err
		}
		r.most = max(r.most, tries)
	}
	if r.from.kit.grub() {
		if r.counts, err = r.from.sector(trialBlock); err != nil {
			return err
		}
	}
	for _, s := range bootloader.Slots() {
		r.damaged[s] = r.from.intact(s) != nil
	}
	return r.others()
}

// trials boots a machine until what boots is no trial, and counts.
func (r *recorded) trials(m *machine) (n int, err error) {
	for ; n < 20; n++ {
		if err := m.boot(); err != nil {
			return 0, err
		}
		if !m.last.Trial {
			return n, nil
		}
		if r.armed, err = m.running(); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("a trial that never ends")
}

func (r *recorded) fresh() bool { return r.from.last.Slot == bootloader.None }

// others finds the sectors of other people's files: their content, and the directories that lead to them.
func (r *recorded) others() error {
	layout, err := partition.Read(r.from.disk)
	if err != nil {
		return err
	}
	for _, label := range []string{"BIOS", "STATE"} {
		p, err := layout.Find(label)
		if err != nil {
			return err
		}
		r.protect(label, p.First*512, 8192)
	}
	if r.from.kit.Root {
		p, err := layout.Find(half(r.from.last.Slot))
		if err != nil {
			return err
		}
		r.protect("the running version's root", p.First*512, rootSize)
	}
	for name, data := range others {
		first := append(bytes.Clone(data[:min(512, len(data))]), make([]byte, max(0, 512-len(data)))...)
		at, err := r.from.find("EFI", first)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.protect(name, at, len(data))
	}
	r.protect("partition table", 0, 34*512)
	r.protect("its backup", r.from.disk.Size()-33*512, 33*512)
	return nil
}

func (r *recorded) protect(name string, off int64, n int) {
	data := make([]byte, n)
	_, _ = r.from.disk.ReadAt(data, off)
	r.untouchable = append(r.untouchable, area{name, off, data})
}

// after follows META through the trace, and refuses writes outside of what the operation may write.
func (r *recorded) after() error {
	d := r.trace.Base()
	layout, err := partition.Read(r.trace.Final())
	if err != nil {
		return err
	}
	parts := map[string][2]int64{}
	for _, p := range layout.Partitions {
		parts[p.Label] = [2]int64{p.First * 512, (p.First + p.Sectors) * 512}
	}
	in := func(o disktest.Op, label string) bool {
		return o.Off >= parts[label][0] && o.Off+int64(len(o.Data)) <= parts[label][1]
	}
	r.metaAt = make([]bool, len(r.trace.Ops)+1)
	dirty := false
	r.note(d)
	for i, o := range r.trace.Ops {
		switch {
		case o.Action == disktest.Write && in(o, "META"):
			dirty = true
			_, _ = d.WriteAt(o.Data, o.Off)
			r.note(d)
		case o.Action == disktest.Flush:
			dirty = false
		case o.Action == disktest.Write && !r.fresh() && !in(o, "EFI") && !(in(o, "EPHEMERAL") && r.op.wipes) &&
			!in(o, half(r.from.last.Slot.Other())):
			return fmt.Errorf("%v: outside of the boot file system and META", o)
		}
		r.metaAt[i] = dirty
	}
	r.metaAt[len(r.trace.Ops)] = dirty
	if r.view, err = newView(r.trace, r.from.kit); err != nil {
		return err
	}
	// A crash disk is the base with blocks of the trace in it; what the trace has not touched needs no look on each.
	touched := map[int64]bool{}
	for _, at := range r.view.sectors {
		touched[at] = true
	}
	r.untouchable = slices.DeleteFunc(r.untouchable, func(a area) bool {
		for at := a.off &^ 511; at < a.off+int64(len(a.data)); at += 512 {
			if touched[at] {
				return false
			}
		}
		return true
	})
	return r.ordered(r.trace)
}

// overwrites reports whether an operation overwrites, in place, one of the sectors that decide what boots.
func (r *recorded) overwrites(o disktest.Op) bool {
	switch r.view.kind(o) {
	case entry, conf, standing, trial:
		return !r.fresh() || o.Step == "confirm" // an install makes them first
	}
	return false
}

func (r *recorded) note(d *disktest.Disk) {
	if v, _, err := readMeta(d); err == nil {
		r.lastAttempt = v
		r.attempts[v] = true
	}
}

// readMeta reads the attempt as every reader must: copy 1 if it is valid, else copy 2. found is false when META cannot
// be read.
func readMeta(d device.Reader) (attempt string, values *meta.Values, err error) {
	layout, err := partition.Read(readOnly{d})
	if err != nil {
		return "", nil, err
	}
	p, err := layout.Find("META")
	if err != nil {
		return "", nil, err
	}
	block := make([]byte, meta.CopySize)
	for n := range int64(2) {
		if _, err = d.ReadAt(block, p.First*512+n*meta.CopySize); err != nil {
			continue
		}
		if values, err = decodeMeta(block); err == nil {
			break
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("META cannot be read: %w", err)
	}
	data, err := values.Value(meta.TagAttempt)
	if err != nil && !errors.Is(err, meta.ErrNoTag) {
		return "", nil, err
	}
	return string(data), values, nil
}

// decoded remembers copies of META, which are long and mostly alike, by a number for their content.
var decoded sync.Map

type copyOfMeta struct {
	values *meta.Values
	err    error
}

func decodeMeta(block []byte) (*meta.Values, error) {
	n := maphash.Bytes(seed, block)
	if c, ok := decoded.Load(n); ok {
		return c.(copyOfMeta).values, c.(copyOfMeta).err
	}
	values, err := meta.Decode(block)
	decoded.Store(n, copyOfMeta{values, err})
	return values, err
}

type readOnly struct{ device.Reader }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.New("only to be read") }
func (readOnly) Sync() error                        { return nil }
