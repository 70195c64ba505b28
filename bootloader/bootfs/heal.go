package bootfs

// heal writes zeros over free sectors that cannot be read, in those pages of the firmware's cache that hold both
// something of the file's zone and something free. A cut leaves such sectors in clusters that then belong to nobody; a
// file beside them would be whole and firmware could not load it, since it reads those pages as a whole (see pages.go).
// All of a zone is looked at, not the new file alone, because what was there before may be used again. Where all can be
// read, nothing is written; the caller flushes.
func (w *Writer) heal() error {
	f := w.f
	const mine, free = 1, 2
	_, size := f.vol.pages()
	pages := make([]byte, (f.vol.size-f.vol.data)/size+1)
	f.spans(func(first, last uint32, claim byte) {
		start, _ := f.vol.dataPages(first)
		_, end := f.vol.dataPages(last)
		switch {
		case claim&w.owner != 0:
			add(pages, start, end, mine)
		case claim == 0:
			add(pages, start, end, free)
		}
	})
	buf := make([]byte, size)
	for p, holds := range pages {
		if holds != mine|free {
			continue
		}
		start := f.vol.data + int64(p)*size
		end := min(start+size, f.vol.offset(f.vol.end))
		if f.read(start, buf[:end-start]) == nil {
			continue
		}
		if err := f.healPage(w.owner, start, end); err != nil {
			return err
		}
	}
	return nil
}

// healPage writes zeros over the sectors that cannot be read and are nobody's. What belongs to a file stays as it is:
// its reader has to see the error.
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
