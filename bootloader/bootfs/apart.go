package bootfs

import "fmt"

// Apart reports whether a zone can be changed without risk for anything else: nothing of others lies in its blocks, and
// nothing in the pages that firmware loses as a whole when it meets a sector that cannot be read. Zones that were made
// as zones are apart. A directory that was filled before it became one may not be: [ErrShared].
func (f *FS) Apart(path string) error {
	if err := f.apart(split(path)); err != nil {
		return fmt.Errorf("zone %s: %w", path, err)
	}
	return nil
}

func (f *FS) apart(elems []string) error {
	owner, err := f.zoneOf(elems)
	if err != nil {
		return err
	}
	if e, _, err := f.lookup(elems); err != nil {
		return err
	} else if !e.dir {
		return errNotDir
	}
	v, near := &f.vol, f.neighbours()
	for c := uint32(2); c < v.end; c++ {
		if f.claim[c]&owner == 0 {
			continue
		}
		who := f.claim[c] | near.blocks[v.tableBlock(0, c)] | near.blocks[v.tableBlock(1,
			c)] | near.tables[v.tablePage(c)]
		first, last := v.dataBlocks(c)
		who |= near.blocks[first] | near.blocks[last]
		first, last = v.dataPages(c)
		for p := first; p <= last; p++ {
			who |= near.data[p]
		}
		if others := who & owners &^ owner; others != 0 {
			return fmt.Errorf("cluster %d lies close to something of others: %w", c, ErrShared)
		}
	}
	return nil
}

// zoneOf is the owner of the zone at a path.
func (f *FS) zoneOf(elems []string) (byte, error) {
	for i, z := range f.zones {
		if len(elems) == len(z) && inside(elems, z) {
			return zone(i), nil
		}
	}
	return 0, fmt.Errorf("it is no zone, only zones can be cleared or be apart")
}
