package bootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Writer takes the content of one file, in order. Nothing of the file can be seen before Close returned nil; then it is
// on the medium. After an error only Abort is of use; Abort after Close does nothing.
//
// A Writer of Fill differs: each write goes straight into the file, and Close only flushes.
type Writer struct {
	f        *FS
	path     string
	elems    []string
	replace  bool
	inPlace  bool // of Fill: the clusters are those of an existing file
	reveal   bool // of Allocate: the file is to appear as its clusters are
	owner    byte
	size     int64
	runs     []extent
	buf      []byte // not yet on the device
	done     int64  // on the device
	run, pos int64  // where on: run, bytes into it
	back     backlog
	trail    *trail // nil unless Trail was called
	err      error  // the first failure, or errClosed
}

var errClosed = errors.New("writer is closed")

// Create starts a new file of exactly size bytes, in a directory that exists. It fails before anything is written: with
// [fs.ErrExist], [ErrFull], [ErrTooLarge], [ErrShared]. The room is reserved until Close or Abort.
func (f *FS) Create(path string, size int64) (*Writer, error) {
	w, err := f.newWriter(path, size, false)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return w, nil
}

// Replace is Create for a file that may exist: after any cut it has its old content or its new one. Both need room at
// the same time; the old one's is free again after Close.
func (f *FS) Replace(path string, size int64) (*Writer, error) {
	w, err := f.newWriter(path, size, true)
	if err != nil {
		return nil, fmt.Errorf("replace %s: %w", path, err)
	}
	return w, nil
}

// WriteFile writes a small file, new or in place of an old one, by Replace.
func (f *FS) WriteFile(path string, data []byte) error {
	w, err := f.Replace(path, int64(len(data)))
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

func (f *FS) newWriter(path string, size int64, replace bool) (*Writer, error) {
	elems := split(path)
	if len(elems) == 0 {
		return nil, errIsDir
	}
	if err := checkName(elems[len(elems)-1]); err != nil {
		return nil, err
	}
	switch {
	case size < 0:
		return nil, fmt.Errorf("%d bytes: %w", size, fs.ErrInvalid)
	case size > maxFileSize:
		return nil, fmt.Errorf("%d bytes, a file has at most %d: %w", size, int64(maxFileSize), ErrTooLarge)
	}
	if err := f.begin(); err != nil {
		return nil, err
	}
	d, err := f.openDir(elems[:len(elems)-1])
	if err != nil {
		return nil, err
	}
	w := &Writer{f: f, path: path, elems: elems, replace: replace, owner: d.owner, size: size}
	if w.runs, err = w.reserve(d); err != nil {
		return nil, err
	}
	return w, nil
}

// reserve sees to it that the directory has a place for the entry, and claims the file's clusters. All refusals come
// before the one thing that it may write, a cluster more for the directory.
func (w *Writer) reserve(d dir) ([]extent, error) {
	f, name := w.f, w.elems[len(w.elems)-1]
	s, err := f.find(d, name)
	exists := errors.Is(err, fs.ErrExist)
	switch {
	case exists && w.replace:
		e, _, err := f.lookup(w.elems)
		if err != nil {
			return nil, err
		}
		if e.dir {
			return nil, errIsDir
		}
		if err := f.mayWriteSlots(d.owner, e.slots); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	var grow []extent
	if !exists {
		if grow, err = f.takeSlots(d, s); err != nil {
			return nil, err
		}
	}
	single := d.owner == rest && w.size <= blockSize
	runs, err := f.take(d.owner, f.vol.clustersFor(w.size), single)
	if err != nil {
		f.mark(grow, 0)
		return nil, err
	}
	return runs, f.extend(d.owner, s.last, grow)
}

// Abort gives the file up and its room back. Nothing of it was or will be seen. Of a Writer of Fill it takes nothing
// back: what was written is in the file.
func (w *Writer) Abort() {
	if errors.Is(w.err, errClosed) {
		return
	}
	w.err = errClosed
	_ = w.leave() // what was written does not count; the FS keeps the error
	if !w.inPlace {
		w.f.mark(w.runs, 0)
	}
	w.buf = nil
}

// Close makes the file appear.
//
//  1. the last data; zeros over free sectors of the zone that cannot be read (see heal); the chain into the first and
//     the second table. A cut here, or any mix of these writes: clusters marked used that belong to nobody. What
//     anybody can reach is as before.
//  2. flush.
//  3. one sector of the directory: the new entry, or the old entry with the new cluster, size and time. A cut: the old
//     state or the new one, and both are complete.
//  4. flush. The file is new from here on.
//  5. for Replace, the old chain's entries in the tables become free. A cut: clusters that belong to nobody. No flush:
//     nothing relies on it, and the next one takes it along.
func (w *Writer) Close() error {
	if errors.Is(w.err, errClosed) {
		return nil
	}
	defer w.Abort() // takes the claims back unless finish made them the file's
	if w.err != nil {
		return w.err
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	return nil
}

func (w *Writer) finish() error {
	f := w.f
	if w.leave() != nil {
		return f.broken
	}
	if have := w.done + int64(len(w.buf)); have != w.size && !w.reveal {
		return fmt.Errorf("%d bytes came, %d were announced: %w", have, w.size, io.ErrUnexpectedEOF)
	}
	if w.inPlace {
		if err := w.last(); err != nil {
			return err
		}
		return f.flush()
	}
	old, _, err := f.lookup(w.elems)
	exists := err == nil
	switch {
	case exists && !w.replace:
		return fs.ErrExist
	case exists && old.dir:
		return errIsDir
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := w.last(); err != nil {
		return err
	}
	if err := w.heal(); err != nil {
		return err
	}
	f.join(w.runs)
	if err := f.settle(w.owner); err != nil {
		return err
	}
	e := entry{name: w.elems[len(w.elems)-1], size: w.size, mod: f.now()}
	if len(w.runs) > 0 {
		e.first = w.runs[0].first
	}
	if exists {
		err = f.swap(old, e)
	} else {
		err = f.insert(w.elems[:len(w.elems)-1], e)
	}
	if err != nil {
		return err
	}
	w.runs = nil // they are the file's now
	if err := f.flush(); err != nil || !exists {
		return err
	}
	if old.first != 0 {
		f.release(old.first, w.owner)
	}
	return f.settle(w.owner)
}

// swap points an entry at new content: steps 2 and 3 of Close.
func (f *FS) swap(old, e entry) error {
	if err := f.flush(); err != nil {
		return err
	}
	slot := old.slots[len(old.slots)-1]
	return f.patch(f.sectorOf(slot), func(off int64, b []byte) {
		if off == slot {
			patchShort(b, e)
		}
	})
}
