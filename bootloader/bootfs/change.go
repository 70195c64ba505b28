package bootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Mkdir makes a directory and those above it that are missing. One that exists is fine.
func (f *FS) Mkdir(path string) error {
	elems := split(path)
	made := false
	for i := range elems {
		new, err := f.makeDir(elems[:i+1])
		if err != nil {
			return fmt.Errorf("make directory %s: %w", strings.Join(elems[:i+1], "/"), err)
		}
		made = made || new
	}
	if !made {
		return nil
	}
	if err := f.flush(); err != nil {
		return fmt.Errorf("make directory %s: %w", path, err)
	}
	return nil
}

// makeDir makes one directory; the parent exists.
//
//  1. its first cluster, with "." and "..", from its own zone; that cluster's end into the tables; flush. A cut: a
//     cluster that belongs to nobody.
//  2. its entry, one sector. A cut: there is no directory, or it is there and empty. The caller flushes, once for all
//     levels: the flush of step 1 of a directory below takes this entry along before anything could be put there.
func (f *FS) makeDir(elems []string) (made bool, err error) {
	name := elems[len(elems)-1]
	if e, _, err := f.lookup(elems); err == nil {
		if e.dir {
			return false, nil
		}
		return false, fmt.Errorf("a file has that name: %w", fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := checkName(name); err != nil {
		return false, err
	}
	if err := f.begin(); err != nil {
		return false, err
	}
	parent, err := f.openDir(elems[:len(elems)-1])
	if err != nil {
		return false, err
	}
	s, err := f.find(parent, name)
	if err != nil {
		return false, err
	}
	grow, err := f.takeSlots(parent, s)
	if err != nil {
		return false, err
	}
	e := entry{name: name, dir: true, mod: f.now()}
	owner := f.child(parent, e).owner
	run, err := f.take(owner, 1, false)
	if err != nil {
		f.mark(grow, 0)
		return false, err
	}
	if err := f.extend(parent.owner, s.last, grow); err != nil {
		return false, err
	}
	e.first = run[0].first
	if err := f.write(f.vol.offset(e.first), f.emptyDir(e, parent, f.vol.cluster)); err != nil {
		return false, err
	}
	f.join(run)
	if err := f.settle(owner); err != nil {
		return false, err
	}
	return true, f.insert(elems[:len(elems)-1], e)
}

// emptyDir is the first n bytes of a directory without entries.
func (f *FS) emptyDir(e entry, parent dir, n int) []byte {
	b := make([]byte, n)
	dot, up := e, entry{dir: true, mod: e.mod, first: parent.first}
	dot.short = [11]byte([]byte(".          "))
	up.short = [11]byte([]byte("..         "))
	if parent.depth == 0 {
		up.first = 0 // the root is said to be cluster 0
	}
	copy(b, encodeShort(dot))
	copy(b[slotSize:], encodeShort(up))
	return b
}

// Remove removes a file or an empty directory.
//
//  1. the sector with its short entry; flush. A cut: it is there whole, or gone.
//  2. parts of its long name in other sectors; its clusters become free in the tables. A cut: clusters that belong to
//     nobody. No flush: nothing relies on it, and the next one takes it along.
func (f *FS) Remove(path string) error {
	if err := f.remove(split(path)); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

func (f *FS) remove(elems []string) error {
	if len(elems) == 0 {
		return fmt.Errorf("the root directory cannot be removed: %w", fs.ErrInvalid)
	}
	e, d, err := f.lookup(elems)
	if err != nil {
		return err
	}
	owner := d.owner
	if e.dir {
		sub := f.child(d, e)
		owner = sub.owner
		empty := true
		if err := f.list(sub, func(entry) bool { empty = false; return false }); err != nil {
			return err
		}
		if !empty {
			return fmt.Errorf("directory is not empty: %w", fs.ErrExist)
		}
	}
	if err := f.begin(); err != nil {
		return err
	}
	if err := f.mayWriteSlots(d.owner, e.slots); err != nil {
		return err
	}
	commit := f.sectorOf(e.slots[len(e.slots)-1])
	if err := f.erase(commit, e.slots); err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	for _, sector := range f.sectors(e.slots) {
		if sector != commit {
			if err := f.erase(sector, e.slots); err != nil {
				return err
			}
		}
	}
	if e.first != 0 {
		f.release(e.first, owner)
	}
	return f.settle(owner)
}

func (f *FS) erase(sector int64, slots []int64) error {
	return f.patch(sector, func(off int64, b []byte) {
		for _, slot := range slots {
			if slot == off {
				b[0] = slotDeleted
			}
		}
	})
}

// Overwrite puts data in the place of a file's content: the same length, at most one sector, written as that one sector
// and flushed. The file's directory entry and the tables are not touched, so the time stamp stays. Content that is
// there already is not written again. A cut leaves the old content or the new; a destroyed sector costs this file
// alone, because Create and Replace give files of up to 4 KiB outside the zones a page of their own (see pages.go). For
// a file that shares its block ([ErrShared]; others made it), Replace it once.
func (f *FS) Overwrite(path string, data []byte) error {
	if err := f.overwrite(split(path), data); err != nil {
		return fmt.Errorf("overwrite %s: %w", path, err)
	}
	return nil
}

func (f *FS) overwrite(elems []string, data []byte) error {
	e, _, err := f.lookup(elems)
	switch {
	case err != nil:
		return err
	case e.dir:
		return errIsDir
	case int64(len(data)) != e.size:
		return fmt.Errorf("%d bytes for a file of %d: %w", len(data), e.size, fs.ErrInvalid)
	case len(data) == 0 || len(data) > f.vol.unit:
		return fmt.Errorf("%d bytes, one sector has %d: %w", len(data), f.vol.unit, fs.ErrInvalid)
	case !f.vol.valid(e.first) || f.claim[e.first]&crossed != 0 || f.claim[e.first]&owners == 0:
		return fmt.Errorf("its cluster %d is not its own: %w", e.first, ErrDamaged)
	}
	if err := f.begin(); err != nil {
		return err
	}
	off := f.vol.offset(e.first)
	if f.sharesBlock(e.first, off/blockSize) {
		return fmt.Errorf("replace it once, its block holds something else too: %w", ErrShared)
	}
	start := off / blockSize * blockSize
	block := make([]byte, min(blockSize, f.vol.size-start))
	if f.read(start, block) != nil {
		// What cannot be read can be written, but the device may need its whole block for that, and firmware reads more
		// than the one sector. The block is this file's own. A cut in between leaves a part that cannot be read, and is
		// mended alike.
		clear(block)
		copy(block[off-start:], data)
		return f.put(start, block)
	}
	b := block[off-start:][:f.vol.unit]
	if string(b[:len(data)]) == string(data) {
		return f.flush() // a killed program may have left it in a cache only
	}
	copy(b, data)
	return f.put(off, b)
}

// put writes and flushes.
func (f *FS) put(off int64, b []byte) error {
	if err := f.write(off, b); err != nil {
		return err
	}
	return f.flush()
}

// sharesBlock reports whether a block of the device holds anything but cluster c.
func (f *FS) sharesBlock(c uint32, block int64) bool {
	v := &f.vol
	start, end := block*blockSize, min((block+1)*blockSize, v.size)
	if start < v.data {
		return true
	}
	for off := start; off < end; {
		n := uint32((off-v.data)/int64(v.cluster)) + 2
		if v.valid(n) && n != c && f.claim[n]&owners != 0 {
			return true
		}
		off = v.offset(n) + int64(v.cluster)
	}
	return false
}

// Free returns how many bytes a new file in that directory can have, if its name has at most 13 characters: what its
// zone can take, less the cluster that the directory itself may need. The directory need not exist yet. On a nearly
// full volume of clusters below 4 KiB, a file of up to 4 KiB outside the zones may find no page of its own though a
// larger one has room.
func (f *FS) Free(path string) (int64, error) {
	elems := split(path)
	owner := rest
	for i, z := range f.zones {
		if inside(elems, z) {
			owner = zone(i)
		}
	}
	own, _ := f.room(owner, false)
	d, err := f.openDir(elems)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		own--
	case err != nil:
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	default:
		s := spot{need: 2}
		err := f.findRun(d, &s)
		if err != nil && owner == rest {
			return 0, fmt.Errorf("free space of %s: %w", path, err)
		}
		if err != nil || s.grow { // a zone that a cut damaged is cleared before anything is put there
			own--
		}
	}
	if owner == rest && own*int64(f.vol.cluster) <= blockSize {
		single, _ := f.room(owner, true)
		own = min(own, single)
	}
	return min(max(own, 0)*int64(f.vol.cluster), maxFileSize), nil
}
