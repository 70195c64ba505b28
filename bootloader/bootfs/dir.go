package bootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// maxSlots is what the specification allows in a directory.
const maxSlots = 65536

// dir is a directory and whose it is.
type dir struct {
	first uint32 // its first cluster
	owner byte
	depth int  // path elements from the root
	on    byte // zones, bit by index, that lie below this directory
}

func (f *FS) rootDir() dir {
	return dir{first: f.vol.root, owner: rest, on: 1<<len(f.zones) - 1}
}

// child is the directory that entry e of d names. A zone starts where all elements of its path matched.
func (f *FS) child(d dir, e entry) dir {
	sub := dir{first: e.first, owner: d.owner, depth: d.depth + 1}
	for i, elems := range f.zones {
		if d.on&(1<<i) == 0 || !e.may(elems[d.depth]) {
			continue
		}
		if len(elems) == sub.depth {
			sub.owner, sub.on = zone(i), 0
			return sub
		}
		sub.on |= 1 << i
	}
	return sub
}

// is reports whether the entry goes by that name, in any case, long or short.
func (e *entry) is(name string) bool {
	return strings.EqualFold(e.name, name) || strings.EqualFold(e.alias, name)
}

// may reports whether the entry goes by that name for anybody: mtools writes non-ASCII short names by code page 850,
// and Linux reads them by 437.
func (e *entry) may(name string) bool {
	return e.is(name) || e.other != "" && strings.EqualFold(e.other, name)
}

// scan visits the 32-byte slots of the directory that starts at cluster first, used or not, until visit returns false.
// b is valid during the call.
func (f *FS) scan(first uint32, next func(uint32) (uint32, error), visit func(off int64, b []byte) bool) error {
	buf := make([]byte, min(f.vol.cluster, blockSize))
	slots := 0
	if !f.vol.valid(first) {
		return fmt.Errorf("directory at cluster %d: %w", first, ErrDamaged)
	}
	for c := first; c != 0; {
		start := f.vol.offset(c)
		for off := start; off < start+int64(f.vol.cluster); off += int64(len(buf)) {
			if err := f.read(off, buf); err != nil {
				return err
			}
			for i := 0; i < len(buf); i += slotSize {
				if !visit(off+int64(i), buf[i:i+slotSize]) {
					return nil
				}
				if slots++; slots > maxSlots {
					return fmt.Errorf("directory at cluster %d is longer than %d entries: %w", first, maxSlots,
						ErrDamaged)
				}
			}
		}
		var err error
		if c, err = next(c); err != nil {
			return err
		}
	}
	return nil
}

// reader turns slots into entries.
type reader struct {
	long long
	end  bool // the end mark was seen
	dots int  // how many of "." and ".." were seen, in their places
	n    int
}

// add takes a slot and reports an entry when it completes one.
func (r *reader) add(off int64, b []byte) (entry, bool) {
	r.n++
	switch {
	case r.end:
		return entry{}, false
	case b[0] == slotEnd:
		r.end = true
	case b[0] == slotDeleted:
		r.long.drop()
	case b[11]&attrMask == attrLong:
		r.long.add(b, off)
		return entry{}, false
	case b[11]&attrLabel != 0:
		r.long.drop()
	case r.n == 1 && bytes.HasPrefix(b, []byte(".          ")), r.n == 2 && bytes.HasPrefix(b, []byte("..         ")):
		r.dots++
	default:
		e := decodeShort(b)
		if name, ok := r.long.name(e.short); ok {
			e.name = name
			e.slots = r.long.slots
		}
		e.slots = append(e.slots, off)
		r.long.drop()
		return e, true
	}
	return entry{}, false
}

// list visits the entries of a directory, without "." and "..", until visit returns false.
func (f *FS) list(d dir, visit func(e entry) bool) error {
	var r reader
	ch := &chain{f: f}
	return f.scan(d.first, ch.next, func(off int64, b []byte) bool {
		if e, ok := r.add(off, b); ok && !visit(e) {
			return false
		}
		return !r.end
	})
}

// lookup finds the entry of a path and the directory that it is in. The root has no entry.
func (f *FS) lookup(elems []string) (entry, dir, error) {
	d := f.rootDir()
	for i, name := range elems {
		var found entry
		ok := false
		err := f.list(d, func(e entry) bool {
			if e.is(name) || !ok && e.may(name) {
				found, ok = e, true
			}
			return !e.is(name)
		})
		switch {
		case err != nil:
			return entry{}, d, err
		case !ok && i < len(elems)-1:
			return entry{}, d, fmt.Errorf("directory %s: %w", strings.Join(elems[:i+1], "/"), fs.ErrNotExist)
		case !ok:
			return entry{}, d, fs.ErrNotExist
		case i == len(elems)-1:
			return found, d, nil
		case !found.dir:
			return entry{}, d, fmt.Errorf("%s is a file: %w", strings.Join(elems[:i+1], "/"), fs.ErrNotExist)
		}
		d = f.child(d, found)
	}
	return entry{dir: true, first: f.vol.root}, d, nil
}

// openDir finds a directory.
func (f *FS) openDir(elems []string) (dir, error) {
	if len(elems) == 0 {
		return f.rootDir(), nil
	}
	e, parent, err := f.lookup(elems)
	if err != nil {
		return dir{}, err
	}
	if !e.dir {
		return dir{}, errNotDir
	}
	return f.child(parent, e), nil
}

var (
	errNotDir = errors.New("is a file, not a directory")
	errIsDir  = errors.New("is a directory")
)
