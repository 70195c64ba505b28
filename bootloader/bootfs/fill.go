package bootfs

import (
	"fmt"
	"io/fs"
)

// Allocate makes a file of exactly size bytes appear, whose content is whatever its clusters held; Fill gives it one.
// So a download that is cut off can be found and taken up again, where Create would leave nothing. It fails as Create
// does.
//
//  1. the chain into both tables. A cut: clusters marked used that belong to nobody.
//  2. flush.
//  3. one sector of the directory: the entry. A cut: there is no file, or it is there in its full size.
//  4. flush.
//
// No byte of it means anything: who reads the file has to know what it should hold, by a digest.
func (f *FS) Allocate(path string, size int64) error {
	w, err := f.newWriter(path, size, false)
	if err != nil {
		return fmt.Errorf("allocate %s: %w", path, err)
	}
	w.reveal = true
	return w.Close()
}

// Fill returns a Writer that puts content into an existing file from byte off on, a multiple of 4096, and up to its
// end. Each write goes straight into the file's clusters; tables and directories are not touched, so the file shows old
// bytes, new ones, or within a block that is written while power fails neither. Close flushes.
func (f *FS) Fill(path string, off int64) (*Writer, error) {
	w, err := f.filler(path, off)
	if err != nil {
		return nil, fmt.Errorf("fill %s: %w", path, err)
	}
	return w, nil
}

func (f *FS) filler(path string, off int64) (*Writer, error) {
	elems := split(path)
	e, d, err := f.lookup(elems)
	switch {
	case err != nil:
		return nil, err
	case e.dir:
		return nil, errIsDir
	case off < 0 || off > e.size || off%blockSize != 0:
		return nil, fmt.Errorf("from byte %d of %d: want a multiple of %d within it: %w", off, e.size, blockSize,
			fs.ErrInvalid)
	}
	runs, err := f.runs(e)
	if err != nil {
		return nil, err
	}
	if err := f.begin(); err != nil {
		return nil, err
	}
	w := &Writer{f: f, path: path, elems: elems, owner: d.owner, size: e.size, done: off, inPlace: true}
	blocks := f.blocks()
	for _, r := range runs {
		for c := r.first; c < r.first+r.count; c++ {
			if f.claim[c]&crossed != 0 || f.claim[c]&owners != d.owner {
				return nil, fmt.Errorf("its cluster %d is not its own: %w", c, ErrDamaged)
			}
			if first, last := f.vol.dataBlocks(c); (blocks[first]|blocks[last])&owners&^d.owner != 0 {
				return nil, fmt.Errorf("its cluster %d: %w", c, ErrShared)
			}
		}
		w.runs = append(w.runs, r.extent)
	}
	for left := off; left > 0; {
		length := int64(w.runs[w.run].count) * int64(f.vol.cluster)
		if left < length {
			w.pos = left
			break
		}
		left -= length
		w.run++
	}
	return w, nil
}
