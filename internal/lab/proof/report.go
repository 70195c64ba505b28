package proof

import (
	"maps"
	"slices"
	"time"
)

// result prints the rows and adds them up.
func (p *proof) result(begin time.Time) Result {
	r := Result{Operations: p.runs, Lived: p.distinct - p.tabled, Bricks: p.bricks, Escaped: p.escaped}
	p.say("\n%-17s %-34s %-24s %7s %8s %8s %7s %6s %6s %6s", "loader", "operation", "step", "writes", "images",
		"distinct", "read", "told", "again", "bricks")
	rank := map[[2]string]int{}
	for i, w := range p.worlds {
		for n, o := range p.operations(w.kit) {
			rank[[2]string{w.kit.Name(), o.name}] = 1000*(i+1) + n
		}
	}
	slices.SortStableFunc(p.order, func(a, b place) int {
		return rank[[2]string{string(a.loader), a.op}] - rank[[2]string{string(b.loader), b.op}]
	})
	for _, key := range p.order {
		c, step := p.rows[key], key.step
		if step == "" {
			step = "(before and after)"
		}
		p.say("%-17s %-34s %-24s %7d %8d %8d %7d %6d %6d %6d", key.loader, key.op, step, c.Writes, c.Images, c.Distinct,
			c.Read, c.Told, c.Again, c.Bricks)
		r.Writes += c.Writes
		r.Images += c.Images
		r.Distinct += c.Distinct
		r.Read += c.Read
		r.Told += c.Told
		r.Again += c.Again
	}
	p.say("\n%-20s %6s %6s %6s %6s", "mutants", "made", "same", "needless", "caught")
	for _, kind := range slices.Sorted(maps.Keys(p.mutants)) {
		t := p.mutants[kind]
		needless := 0
		for _, n := range t.Needless {
			needless += n
		}
		p.say("%-20s %6d %6d %6d %6d", kind, t.Made, t.Same, needless, t.Caught)
		for _, why := range slices.Sorted(maps.Keys(t.Needless)) {
			p.say("    %4d times: %s", t.Needless[why], why)
		}
		r.Mutants += t.Made - t.Same - needless
		r.Caught += t.Caught
	}
	p.say("\nthe loader read something else on %d disks; the system was asked what happened on %d; operations were "+
		"run again on %d", r.Read, r.Told, r.Again)
	r.Seconds = time.Since(begin).Seconds()
	return r
}
