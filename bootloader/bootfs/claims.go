package bootfs

import (
	"bytes"
	"fmt"
)

// mayTake reports whether owner may take cluster c: nobody reaches it, and nobody else has anything in the blocks and
// in the pages that its entries and its data lie in.
func (f *FS) mayTake(c uint32, owner byte, near neighbours, single bool) bool {
	v := &f.vol
	if f.claim[c] != 0 || f.table[c]&entryMask == entryBad {
		return false
	}
	others := owners &^ owner
	if (near.blocks[v.tableBlock(0, c)]|near.blocks[v.tableBlock(1, c)]|near.tables[v.tablePage(c)])&others != 0 {
		return false
	}
	first, last := v.dataBlocks(c)
	data := near.blocks[first] | near.blocks[last]
	if single && first*blockSize < v.data {
		return false
	}
	first, last = v.dataPages(c)
	for p := first; p <= last; p++ {
		data |= near.data[p]
	}
	if single {
		return data == 0
	}
	return data&(others|alone) == 0
}

// group is how many clusters free looks at together: a part of what a page of the table has.
const group = 64

// free returns how many clusters from c on owner may take, by one look at all that is near them: those of a group that
// begins there. 0 says nothing: mayTake does.
func (f *FS) free(c uint32, owner byte, near neighbours) uint32 {
	v := &f.vol
	end, others := min(c+group, v.end), owners&^owner
	if c%group != 0 || near.tables[v.tablePage(c)]&others != 0 || !bytes.Equal(f.claim[c:end], none[:end-c]) {
		return 0
	}
	who := byte(0)
	for table := range 2 {
		who |= nearby(near.blocks, v.tableBlock(table, c), v.tableBlock(table, end-1))
	}
	first, _ := v.dataBlocks(c)
	_, last := v.dataBlocks(end - 1)
	data := nearby(near.blocks, first, last)
	first, _ = v.dataPages(c)
	_, last = v.dataPages(end - 1)
	data |= nearby(near.data, first, last)
	if who&others != 0 || data&(others|alone) != 0 {
		return 0
	}
	for _, e := range f.table[c:end] {
		if e&entryMask == entryBad {
			return 0
		}
	}
	return end - c
}

var none [group]byte

// nearby is who has something in b from first to last.
func nearby(b []byte, first, last int64) (who byte) {
	for _, w := range b[first : last+1] {
		who |= w
	}
	return who
}

// extent is a run of clusters.
type extent struct{ first, count uint32 }

// take claims n clusters for owner: first in pages of the table that it already has, then in those that nobody has,
// each time from the zone's own place on the volume on. So zones stay compact and apart, and one zone can always have
// all the pages that the others leave. Nothing is written. With single, the clusters' pages hold nothing else and never
// will.
func (f *FS) take(owner byte, n int64, single bool) ([]extent, error) {
	if n == 0 {
		return nil, nil
	}
	near := f.neighbours()
	defer f.done(near.blocks)
	var got []extent
	left := n
	for _, own := range []bool{true, false} {
		skip := func(c uint32) bool { return (near.tables[f.vol.tablePage(c)]&owner != 0) != own }
		f.each(owner, skip, func(c uint32) (seen uint32, more bool) {
			if skip(c) {
				return 1, true
			}
			n := uint32(0)
			if !single && left >= group {
				n = f.free(c, owner, near)
			}
			switch {
			case n > 0:
			case f.mayTake(c, owner, near, single):
				n = 1
			default:
				return 1, true
			}
			if k := len(got) - 1; k >= 0 && got[k].first+got[k].count == c {
				got[k].count += n
			} else {
				got = append(got, extent{c, n})
			}
			left -= int64(n)
			return n, left > 0
		})
		if left == 0 {
			break
		}
	}
	if left > 0 {
		return nil, f.full(owner, n, n-left)
	}
	claim := owner
	if single {
		claim |= alone
	}
	f.mark(got, claim)
	return got, nil
}

// each visits the clusters in the order in which owner takes them, until visit wants no more; it says how many it has
// seen, all in one page of the table. A page is left out as a whole where skip says so of its first cluster: it must
// say the same of all of them.
func (f *FS) each(owner byte, skip func(c uint32) bool, visit func(c uint32) (seen uint32, more bool)) {
	start := uint32(2)
	table, _ := f.vol.pages()
	page := uint32(table / 4)
	for i := range f.zones {
		if owner != zone(i) {
			continue
		}
		total, halves := int64(f.vol.end), int64(min(len(f.zones), 2))
		place := int64(i) * total / halves
		if i >= 2 { // small ones, from the end on
			place = total - int64(i-1)*int64(page)
		}
		start = uint32(max(place, min(int64(page), total-1)))
	}
	start -= start % page
	start = max(start, 2)
	for _, part := range [][2]uint32{{start, f.vol.end}, {2, start}} {
		for c := part[0]; c < part[1]; {
			if c%page == 0 && skip(c) {
				c += page
				continue
			}
			n, more := visit(c)
			if !more {
				return
			}
			c += n
		}
	}
}

func (f *FS) mark(run []extent, claim byte) {
	for _, e := range run {
		for c := e.first; c < e.first+e.count; c++ {
			f.claim[c] = claim
		}
	}
}

// room counts the clusters that owner can take, and all that nobody has.
func (f *FS) room(owner byte, single bool) (own, all int64) {
	near := f.neighbours()
	defer f.done(near.blocks)
	for c := uint32(2); c < f.vol.end; c++ {
		if n := f.free(c, owner, near); n > 0 && !single {
			own, all, c = own+int64(n), all+int64(n), c+n-1
			continue
		}
		if f.claim[c] != 0 || f.table[c]&entryMask == entryBad {
			continue
		}
		all++
		switch {
		case near.tables[f.vol.tablePage(c)]&owners&^owner != 0: // as mayTake says, sooner
		case f.mayTake(c, owner, near, single):
			own++
		}
	}
	return own, all
}

func (f *FS) full(owner byte, want, have int64) error {
	size := int64(f.vol.cluster)
	_, all := f.room(owner, false)
	return fmt.Errorf("%d bytes are needed, %s can take %d, and %d are free on the whole volume: %w",
		want*size, f.zoneName(owner), have*size, all*size, ErrFull)
}

// join puts the runs, in order, into the table in memory as one chain.
func (f *FS) join(run []extent) {
	for i, e := range run {
		for c := e.first; c < e.first+e.count-1; c++ {
			f.set(c, c+1)
		}
		end := uint32(entryEnd)
		if i+1 < len(run) {
			end = run[i+1].first
		}
		f.set(e.first+e.count-1, end)
	}
}

// settle brings the table on the device to what is claimed: in the blocks that owner may write, entries that nobody
// reaches become free and sectors that changed or differ are written. What becomes free must already be unreachable on
// the medium, not only in a cache.
func (f *FS) settle(owner byte) error {
	near := f.neighbours()
	defer f.done(near.blocks)
	perSector := uint32(f.vol.unit / 4)
	for s := range f.stale {
		if f.empty[s] || !f.mayMend(owner, near, int64(s)) {
			continue
		}
		first := uint32(s) * perSector
		for c := max(first, 2); c < min(first+perSector, f.vol.end); c++ {
			if e := f.table[c] & entryMask; f.claim[c] == 0 && e != entryFree && e != entryBad {
				f.set(c, entryFree)
			}
		}
	}
	return f.writeTable(owner, near)
}

// release takes the claims off the chain that starts at c, up to where it is somebody else's too.
func (f *FS) release(c uint32, owner byte) {
	for f.vol.valid(c) && f.claim[c]&^alone == owner {
		f.claim[c] = 0
		c = f.table[c] & entryMask
	}
}
