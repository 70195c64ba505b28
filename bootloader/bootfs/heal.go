package bootfs

// heal writes zeros over free sectors that cannot be read, in the pages of the firmware's cache that hold the file's directory
// and the ends of its runs. A cut leaves such sectors in clusters that then belong to nobody; the file would be whole and
// firmware could not load it, since it reads those pages as a whole (see zones.go). Where all can be read, nothing is
// written; the caller flushes.
func (w *Writer) heal(dir uint32) error {
	f := w.f
	ends := []uint32{}
	for c, n := dir, 0; f.vol.valid(c) && n < maxSlots; c, n = f.table[c]&entryMask, n+1 {
		ends = append(ends, c)
	}
	for _, run := range w.runs {
		ends = append(ends, run.first, run.first+run.count-1)
	}
	_, size := f.vol.pages()
	buf, done := make([]byte, size), map[int64]bool{}
	for _, c := range ends {
		first, last := f.vol.dataPages(c)
		for p := first; p <= last; p++ {
			if done[p] {
				continue
			}
			done[p] = true
			start := f.vol.data + p*size
			end := min(start+size, f.vol.offset(f.vol.end))
			if f.read(start, buf[:end-start]) == nil {
				continue
			}
			if err := f.healPage(w.owner, start, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// healPage writes zeros over the sectors that cannot be read and are nobody's. What belongs to a file stays as it is: its
// reader has to see the error.
func (f *FS) healPage(owner byte, start, end int64) error {
	blocks, sector := f.blocks(), make([]byte, f.vol.unit)
	for off := start; off < end; off += int64(f.vol.unit) {
		c := uint32((off-f.vol.data)/int64(f.vol.cluster)) + 2
		if f.claim[c] != 0 || blocks[off/blockSize]&owners&^owner != 0 || f.read(off, sector) == nil {
			continue
		}
		clear(sector)
		if err := f.write(off, sector); err != nil {
			return err
		}
	}
	return nil
}
