package bootfs

import "fmt"

// Clear empties a zone, whatever state a cut left it in: its directory, its clusters and its entries in the tables may
// be destroyed or unreadable, as long as the entry of the directory itself, which lies outside, is whole. A zone that
// is clean already is not written.
//
//  1. the first sector of the directory: nothing but "." and ".."; flush. A cut: all files are there, or none.
//  2. zeros into the rest of its first cluster; in the tables that cluster ends the chain, and all others of the zone
//     become free. A cut: an empty directory, clusters that belong to nobody. No flush: nothing relies on it, and the
//     next one takes it along.
func (f *FS) Clear(path string) error {
	if err := f.clear(split(path)); err != nil {
		return fmt.Errorf("clear %s: %w", path, err)
	}
	return nil
}

func (f *FS) clear(elems []string) error {
	owner, err := f.zoneOf(elems)
	if err != nil {
		return err
	}
	e, parent, err := f.lookup(elems)
	switch {
	case err != nil:
		return err
	case !e.dir:
		return errNotDir
	case !f.vol.valid(e.first) || f.claim[e.first]&owners&^owner != 0:
		return fmt.Errorf("its first cluster %d is not its own: %w", e.first, ErrDamaged)
	}
	if err := f.begin(); err != nil {
		return err
	}
	blocks := f.blocks()
	first, last := f.vol.dataBlocks(e.first)
	if (blocks[first]|blocks[last])&owners&^owner != 0 || !f.mayWriteSector(owner, blocks,
		4*int64(e.first)/int64(f.vol.unit)) {
		return fmt.Errorf("its directory: %w", ErrShared)
	}
	if f.isClear(e, owner) {
		return nil
	}
	unit := f.vol.unit
	e.mod = f.now()
	empty := f.emptyDir(e, parent, f.vol.cluster)
	if f.read(f.vol.offset(e.first), make([]byte, f.vol.cluster)) != nil {
		unit = f.vol.cluster // it is no directory any more, and the device may need a whole block to heal it
	}
	if err := f.put(f.vol.offset(e.first), empty[:unit]); err != nil {
		return err
	}
	if len(empty) > unit {
		if err := f.write(f.vol.offset(e.first)+int64(unit), empty[unit:]); err != nil {
			return err
		}
		f.zeroed = true
	}
	f.disown(owner)
	f.claim[e.first] = owner
	f.set(e.first, entryEnd)
	return f.settle(owner)
}

// isClear reports whether there is nothing to do: a sound directory of one cluster without entries, nothing else of the
// zone, no leftovers where the zone may write.
func (f *FS) isClear(e entry, owner byte) bool {
	if f.lost&owner != 0 || f.table[e.first]&entryMask < entryLast {
		return false
	}
	var r reader
	near := f.neighbours()
	err := f.scan(e.first, func(uint32) (uint32, error) { return 0, nil }, func(_ int64, b []byte) bool {
		r.add(0, b)
		return r.dots == r.n || b[0] == 0 && r.dots == 2
	})
	if err != nil || r.n != f.vol.cluster/slotSize {
		return false
	}
	for c := uint32(2); c < f.vol.end; c++ {
		if f.claim[c]&owner != 0 && c != e.first {
			return false
		}
	}
	for s := range f.stale {
		if f.stale[s] && f.mayMend(owner, near, int64(s)) {
			return false
		}
	}
	return true
}

// disown takes an owner's claims away. Clusters that were kept because something of this owner alone was damaged are
// nobody's from now on.
func (f *FS) disown(owner byte) {
	f.lost &^= owner
	for c := range f.claim {
		if f.claim[c]&owner != 0 {
			if f.claim[c] &^= owner; f.claim[c]&owners == 0 {
				f.claim[c] = 0
			}
		}
		if f.lost == 0 && f.claim[c] == kept {
			f.claim[c] = 0
		}
	}
}
