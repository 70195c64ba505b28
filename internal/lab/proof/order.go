package proof

import (
	"fmt"
	"strings"

	"github.com/pawl-os/pawl/partition/disktest"
)

// ordered holds a trace against two rules that no single disk can show.
//
// A flush is asked of one partition. On a machine each partition is a device with a cache of its own, so the flush of
// one says nothing of another; in the model one flush covers the disk. Where no flush has writes of two partitions
// before it, the two are the same.
//
// A step that was reported as done is done: what it wrote is flushed, so that the next step, the read-back above all,
// works with what is on the medium. Only what frees clusters is left to the next flush, since nothing relies on it.
func (r *recorded) ordered(t *disktest.Trace) error {
	if r.fresh() {
		return nil
	}
	pending := map[string]disktest.Op{}
	for i, o := range t.Ops {
		switch o.Action {
		case disktest.Flush:
			if len(pending) > 1 {
				return fmt.Errorf("%v: what was written to several partitions is not flushed: %v", o, pending)
			}
			clear(pending)
		case disktest.Write:
			if o.Step == bootStep { // in the disk's own cache, which every flush reaches
				continue
			}
			pending[r.view.partition(o.Off)] = o
		}
		last := i+1 == len(t.Ops) || t.Ops[i+1].Step != o.Step
		kind := r.view.kind(o)
		if last && o.Action == disktest.Write && o.Step != "clear" && kind != tableOne && kind != tableTwo &&
			!strings.HasPrefix(o.Step, "killed in ") {
			return fmt.Errorf("%v: the step ends, and this is not flushed", o)
		}
	}
	return nil
}

// partition is the label of the partition at an offset.
func (v *view) partition(off int64) string {
	for label, a := range v.parts {
		if a[0] <= off && off < a[1] {
			return label
		}
	}
	return "none"
}
