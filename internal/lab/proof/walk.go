package proof

import (
	"fmt"

	"github.com/pawl-os/pawl/partition/disktest"
)

// count is what was looked at, of one step or in all.
type count struct {
	Writes, Images int
	Distinct       int // disks that differ in something that a loader can get at
	Read           int // disks of which a loader read something else
	Told, Again    int // disks on which the system had to say what happened; on which the operation was run again
	Bricks         int
}

func (c *count) add(d count) {
	c.Writes += d.Writes
	c.Images += d.Images
	c.Distinct += d.Distinct
	c.Read += d.Read
	c.Told += d.Told
	c.Again += d.Again
	c.Bricks += d.Bricks
}

// depth says on how many crash disks the slow questions are asked. All other questions are asked on all.
type depth int

const (
	sparse depth = iota // once for each step, by what boots; the operation is run again once, by what boots
	medium              // the same, and by what was destroyed
	full                // once for each operation on the disk, by what boots and what was destroyed, and each 500th
)

// sort is a group of crash disks of one trace that are likely to be answered alike.
type sort struct {
	step                    string
	index                   int
	boots                   label
	destroyed, cannotBeRead bool
}

// walk judges every crash disk of a recorded operation.
func (p *proof) walk(r *recorded, o disktest.Options, d depth) {
	steps := map[string]*count{}
	at := func(step string) *count {
		if steps[step] == nil {
			steps[step] = &count{}
		}
		return steps[step]
	}
	for _, op := range r.trace.Ops {
		if op.Action != disktest.Flush && o.Block != 4096 {
			at(op.Step).Writes++
		}
	}
	o.Torn = r.overwrites
	seen := map[uint64]bool{}
	asked, again := map[sort]int{}, map[sort]bool{}
	err := r.trace.Crashes(o, func(c *disktest.Crash) error {
		n := at(c.Step)
		n.Images++
		v, err := r.judge(c)
		if err == nil && !seen[v.seen] {
			seen[v.seen] = true
			isNew, isRead := p.new(v)
			n.Distinct += isNew
			n.Read += isRead
			err = r.comesBack(c)
		}
		s := sort{step: c.Step, boots: v.label}
		if d >= medium {
			s.destroyed, s.cannotBeRead = c.Destroyed()
		}
		if d == full {
			s.index = c.Index
		}
		if asked[s]++; err == nil && (asked[s] == 1 || d == full && asked[s]%500 == 0) {
			n.Told++
			booted, l, told := r.truth(c)
			destroyed, _ := c.Destroyed()
			if err = told; err == nil && !destroyed {
				err = r.whole(c)
			}
			if s.destroyed {
				s.index = 0
			}
			if d < full {
				s.step = ""
			}
			if err == nil && !again[s] {
				again[s] = true
				n.Again++
				err = r.again(booted, l)
			}
		}
		if err != nil {
			n.Bricks++
			p.brick(fmt.Errorf("%v, blocks of %d: %v: %w", r, o.Block, c, err))
		}
		return nil
	})
	if err != nil {
		p.brick(fmt.Errorf("%v: %w", r, err))
	}
	for step, c := range steps {
		p.row(r, step, *c)
	}
}
