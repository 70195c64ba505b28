package bootfs

import (
	"fmt"
	"io/fs"
	"slices"
)

// spot is where in a directory a new file's entries go.
type spot struct {
	short [11]byte
	slots []int64 // free ones in a row, one for each entry, the short one last
	fill  []int64 // unused slots before them that must be marked deleted, not unused
	dirty []int64 // slots after the end mark that are not zero, up to the one after ours: others leave such
	need  int     // how many slots the entries take
	last  uint32  // the directory's last cluster
	total int     // slots in the directory, known if it must grow
	grow  bool    // there is no such place, the directory must grow
}

// find looks for a place for a new entry. All entries of one file go into one sector if they fit, so that writing it
// makes the file appear at once. fs.ErrExist if the name is there.
func (f *FS) find(d dir, name string) (spot, error) {
	shorts := map[[11]byte]struct{}{}
	var exists bool
	err := f.list(d, func(e entry) bool {
		shorts[e.short] = struct{}{}
		exists = exists || e.may(name)
		return !exists
	})
	if err != nil {
		return spot{}, err
	}
	if exists {
		return spot{}, fs.ErrExist
	}
	short, exact := exactShort(name)
	if !exact {
		short, err = newShort(name, func(s [11]byte) bool { _, ok := shorts[s]; return ok })
		if err != nil {
			return spot{}, err
		}
	}
	s := spot{short: short, need: len(encodeLong(name, short)) + 1}
	err = f.findRun(d, &s)
	return s, err
}

func (f *FS) findRun(d dir, s *spot) error {
	n := s.need
	unit := int64(f.vol.unit)
	oneSector := n <= f.vol.unit/slotSize
	var end bool     // past the end mark
	var tail []int64 // the unused slots, from the end mark on
	ch := &chain{f: f}
	next := func(c uint32) (uint32, error) {
		s.last = c
		return ch.next(c)
	}
	err := f.scan(d.first, next, func(off int64, b []byte) bool {
		s.total++
		if len(s.slots) == n {
			if end && b[0] != 0 {
				s.dirty = append(s.dirty, off)
			}
			return false
		}
		if end && b[0] != 0 {
			s.dirty = append(s.dirty, off)
		}
		end = end || b[0] == slotEnd
		if !end && b[0] != slotDeleted {
			s.slots = s.slots[:0]
			return true
		}
		if end {
			tail = append(tail, off)
		}
		if oneSector && off%unit == 0 {
			s.slots = s.slots[:0]
		}
		s.slots = append(s.slots, off)
		return true
	})
	if err != nil {
		return err
	}
	s.grow = len(s.slots) < n
	for _, off := range tail {
		if len(s.slots) > 0 && off == s.slots[0] {
			break
		}
		if !s.grow && !slices.Contains(s.slots, off) {
			s.fill = append(s.fill, off)
		}
	}
	return nil
}

// sectors returns the starts of the sectors that hold these slots, in order, each once.
func (f *FS) sectors(slots []int64) []int64 {
	var out []int64
	for _, off := range slots {
		if s := f.sectorOf(off); len(out) == 0 || out[len(out)-1] != s {
			out = append(out, s)
		}
	}
	return out
}

func (f *FS) sectorOf(off int64) int64 { return off - off%int64(f.vol.unit) }

// mayWriteSlots refuses slots in a block that another zone has something in.
func (f *FS) mayWriteSlots(owner byte, lists ...[]int64) error {
	blocks := f.blocks()
	defer f.done(blocks)
	for _, list := range lists {
		for _, off := range list {
			if others := blocks[off/blockSize] & owners &^ owner; others != 0 {
				return fmt.Errorf("directory of %s: %w", f.zoneName(owner), ErrShared)
			}
		}
	}
	return nil
}

// patch reads the sector at off, lets edit change each of its slots, and writes it.
func (f *FS) patch(sector int64, edit func(off int64, slot []byte)) error {
	b := make([]byte, f.vol.unit)
	if err := f.read(sector, b); err != nil {
		return err
	}
	for i := 0; i < len(b); i += slotSize {
		edit(sector+int64(i), b[i:i+slotSize])
	}
	return f.write(sector, b)
}

// ready brings the directory to where one write of one sector adds the entry: nothing but zeros after the end mark, no
// unused slot before ours, parts of the long name that lie in sectors before the last. None of it can be seen in the
// directory, so a cut leaves it as it was. It reports whether it flushed all that the entry needs; if not, the caller
// does. (A mark "deleted" that is missing hides the entry; it need not be flushed before.)
func (f *FS) ready(s spot, entries map[int64][]byte) (flushed bool, err error) {
	for _, sector := range f.sectors(s.dirty) {
		err := f.patch(sector, func(off int64, slot []byte) {
			if slices.Contains(s.dirty, off) {
				clear(slot)
			}
		})
		if err != nil {
			return false, err
		}
	}
	if len(s.dirty) > 0 || len(s.fill) > 0 && f.zeroed {
		// Before the end mark moves over a slot it must be zero on the medium, or old bytes would turn into files.
		if err := f.flush(); err != nil {
			return false, err
		}
		flushed = true
	}
	for _, sector := range f.sectors(slices.Concat(s.fill, s.slots)) {
		if sector == f.sectorOf(s.slots[len(s.slots)-1]) {
			continue
		}
		if !slices.Contains(f.sectors(s.fill), sector) {
			flushed = false // a part of the name
		}
		err := f.patch(sector, func(off int64, slot []byte) {
			copy(slot, entries[off])
			if slices.Contains(s.fill, off) {
				slot[0] = slotDeleted
			}
		})
		if err != nil {
			return false, err
		}
	}
	return flushed, nil
}

// entriesFor are the slots of a new file.
func (s *spot) entriesFor(e entry) map[int64][]byte {
	out := map[int64][]byte{}
	for i, b := range encodeLong(e.name, s.short) {
		out[s.slots[i]] = b
	}
	e.short = s.short
	out[s.slots[len(s.slots)-1]] = encodeShort(e)
	return out
}

// commit writes the one sector that makes the file appear.
func (f *FS) commit(s spot, entries map[int64][]byte) error {
	return f.patch(f.sectorOf(s.slots[len(s.slots)-1]), func(off int64, slot []byte) { copy(slot, entries[off]) })
}

// extend adds clusters, already taken, to a directory:
//
//  1. zeros into the clusters, their chain into the tables; flush. A cut: clusters that belong to nobody.
//  2. the link from the last cluster to them. A cut: the directory is as it was, or has clusters without entries.
//
// What is put into the clusters afterwards is flushed together with the link, and one without the other is not seen.
func (f *FS) extend(owner byte, last uint32, grow []extent) error {
	if len(grow) == 0 {
		return nil
	}
	for _, run := range grow {
		for c := run.first; c < run.first+run.count; c++ {
			if err := f.write(f.vol.offset(c), make([]byte, f.vol.cluster)); err != nil {
				return err
			}
		}
	}
	f.join(grow)
	if err := f.settle(owner); err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	f.set(last, grow[0].first)
	return f.settle(owner)
}

// mayExtend refuses to link from a cluster whose table entry another zone shares a block with.
func (f *FS) mayExtend(owner byte, last uint32) error {
	s := 4 * int64(last) / int64(f.vol.unit)
	if !f.mayWriteSector(owner, f.blocks(), s) {
		return fmt.Errorf("directory of %s cannot grow: %w", f.zoneName(owner), ErrShared)
	}
	return nil
}

// takeSlots checks that the slots of a new entry may be written and claims clusters if the directory must grow.
func (f *FS) takeSlots(d dir, s spot) ([]extent, error) {
	if err := f.mayWriteSlots(d.owner, s.slots, s.fill, s.dirty); err != nil {
		return nil, err
	}
	if !s.grow {
		return nil, nil
	}
	n := f.vol.clustersFor(int64(s.need) * slotSize)
	if int64(s.total)+n*int64(f.vol.cluster/slotSize) > maxSlots {
		return nil, fmt.Errorf("the directory is full, it has %d entries and may have %d: %w", s.total, maxSlots,
			ErrFull)
	}
	if err := f.mayExtend(d.owner, s.last); err != nil {
		return nil, err
	}
	return f.take(d.owner, n, false)
}

// insert adds an entry whose content is written but not flushed: steps 2 and 3 of Close. Parts of the entry that cannot
// be seen by themselves are written before the flush.
func (f *FS) insert(parent []string, e entry) error {
	d, err := f.openDir(parent)
	if err != nil {
		return err
	}
	s, err := f.find(d, e.name)
	if err != nil {
		return err
	}
	if s.grow { // several writers in one directory
		grow, err := f.takeSlots(d, s)
		if err != nil {
			return err
		}
		if err := f.extend(d.owner, s.last, grow); err != nil {
			return err
		}
		if s, err = f.find(d, e.name); err == nil && s.grow {
			err = fmt.Errorf("its directory has grown and has no place yet: %w", ErrDamaged)
		}
		if err != nil {
			return err
		}
	}
	if err := f.mayWriteSlots(d.owner, s.slots, s.fill, s.dirty); err != nil {
		return err
	}
	entries := s.entriesFor(e)
	flushed, err := f.ready(s, entries)
	if err != nil {
		return err
	}
	if !flushed {
		if err := f.flush(); err != nil {
			return err
		}
	}
	return f.commit(s, entries)
}
