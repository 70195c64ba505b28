package predict

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// page returns the cached page that holds off, which lies in an area of length bytes at base.
func (v *volume) page(base, length, size, off int64) ([]byte, int64, error) {
	if v.exact {
		size = int64(v.dev.SectorSize())
	}
	start := base + (off-base)/size*size
	if b, ok := v.pages[start]; ok {
		if b == nil {
			return nil, 0, fmt.Errorf("read at %d: %w", start, errCorrupt)
		}
		return b, start, nil
	}
	n := min(size, base+length-start)
	if n <= 0 {
		return nil, 0, errCorrupt
	}
	var b []byte
	if v.exact {
		b = make([]byte, n)
	} else {
		b = spare.Get().(*[dataPage]byte)[:n]
	}
	if err := v.read(b, start); err != nil {
		v.pages[start] = nil
		return nil, 0, err
	}
	v.pages[start] = b
	return b, start, nil
}

// spare keeps pages that no volume caches any more: clearing new ones takes longer than most boots.
var spare = sync.Pool{New: func() any { return new([dataPage]byte) }}

// forget empties the cache.
func (v *volume) forget() {
	for _, b := range v.pages {
		if cap(b) == dataPage {
			spare.Put((*[dataPage]byte)(b[:dataPage]))
		}
	}
	clear(v.pages)
}

// link is the first table's entry for cluster c; on every FAT the end of a chain is at least endOfChain.
func (v *volume) link(c uint32) (uint32, error) {
	off, width := v.table+int64(c)*int64(v.bits)/8, (v.bits+7)/8
	var raw [4]byte
	for n := 0; n < width; { // an entry of a FAT12 may lie in two sectors
		at := off + int64(n)
		if at+1 > v.table+v.tableLen {
			return 0, errCorrupt
		}
		b, start, err := v.page(v.table, v.tableLen, v.tablePage, at)
		if err != nil {
			return 0, err
		}
		n += copy(raw[n:width], b[at-start:])
	}
	next := binary.LittleEndian.Uint32(raw[:])
	if v.bits == 12 && c&1 != 0 {
		next >>= 4
	}
	special := uint32(1)<<min(v.bits, 28) - 9
	next &= special | 15
	if next > special {
		next = endOfChain
	}
	return next, nil
}

const endOfChain = 0x0ffffff8

// chain lists the clusters of a file of size bytes; of a directory (size < 0) all.
func (v *volume) chain(first uint32, size int64) ([]uint32, error) {
	var clusters []uint32
	for c := first; size < 0 || int64(len(clusters))*v.cluster < size; {
		if size < 0 && c >= endOfChain {
			break
		}
		if c < 2 || c >= v.end || len(clusters) > int(v.end) {
			return clusters, errCorrupt
		}
		clusters = append(clusters, c)
		if size >= 0 && int64(len(clusters))*v.cluster >= size {
			break
		}
		var err error
		if c, err = v.link(c); err != nil {
			return clusters, err
		}
	}
	return clusters, nil
}

// readRun reads length bytes of the data region at off: pages through the cache, whole ones straight.
func (v *volume) readRun(p []byte, off int64) error {
	for len(p) > 0 {
		page := v.dataPage
		if v.exact {
			page = int64(v.dev.SectorSize())
		}
		if whole := int64(len(p)) / page * page; (off-v.base)%page == 0 && whole > 0 {
			if err := v.read(p[:whole], off); err != nil {
				return err
			}
			p, off = p[whole:], off+whole
			continue
		}
		b, start, err := v.page(v.base, v.limit-v.base, v.dataPage, off)
		if err != nil {
			return err
		}
		n := copy(p, b[off-start:])
		if n == 0 {
			return errCorrupt
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}
