package bootfs

import (
	"bytes"
	"strings"
)

// The byte of a cluster in FS.claim. Bit 0 says that something outside the zones reaches it, bits 1 to 4 that something
// in that zone does. No bit at all: nobody reaches it, so it is free, whatever the table says of it.
const (
	rest     byte = 1 << 0
	owners   byte = 1<<(maxZones+1) - 1
	kept     byte = 1 << 5 // marked used, and perhaps part of something damaged: not to be given away
	alone    byte = 1 << 6 // of a file that is overwritten in place: nothing else may be put into its blocks
	crossed  byte = 1 << 7 // reached twice
	maxZones      = 4
)

// zone is the bit of the zone with that index.
func zone(i int) byte { return rest << (i + 1) }

// zoneName is for messages.
func (f *FS) zoneName(owner byte) string {
	for i, elems := range f.zones {
		if owner == zone(i) {
			return strings.Join(elems, "/")
		}
	}
	if len(f.zones) == 0 {
		return "volume"
	}
	return "rest of the volume"
}

// blocks says for each block of the device who has something in it: an entry of either table, or data. It is made anew
// for each operation, so it cannot go stale; done gives its memory back for the next one.
func (f *FS) blocks() []byte {
	v := &f.vol
	b := f.spare
	f.spare = nil
	if b == nil {
		b = make([]byte, (v.size+blockSize-1)/blockSize)
	}
	clear(b)
	for i := int64(0); i*blockSize < v.fat[0]; i++ {
		b[i] |= rest // boot sector and FSInfo
	}
	b[v.tableBlock(0, 0)] |= rest // entries 0 and 1
	b[v.tableBlock(1, 0)] |= rest
	f.spans(func(first, last uint32, claim byte) {
		who := claim & (owners | alone)
		add(b, v.tableBlock(0, first), v.tableBlock(0, last), who&owners)
		add(b, v.tableBlock(1, first), v.tableBlock(1, last), who&owners)
		start, _ := v.dataBlocks(first)
		_, end := v.dataBlocks(last)
		add(b, start, end, who)
	})
	return b
}

// done ends the use of what blocks returned.
func (f *FS) done(blocks []byte) { f.spare = blocks }

// stride is how many clusters spans compares at once with those before them.
const stride = 256

// spans visits the clusters in order, as many at once as have the same claim and follow each other.
func (f *FS) spans(visit func(first, last uint32, claim byte)) {
	for first := 2; first < len(f.claim); {
		claim, end := f.claim[first], first+1
		for ; end+stride <= len(f.claim) && bytes.Equal(f.claim[end-1:end-1+stride],
			f.claim[end:end+stride]); end += stride {
		}
		for end < len(f.claim) && f.claim[end] == claim {
			end++
		}
		visit(uint32(first), uint32(end-1), claim)
		first = end
	}
}

// add says that who has something in each of b from first to last.
func add(b []byte, first, last int64, who byte) {
	if who == 0 {
		return
	}
	for i := first; i <= last; i++ {
		b[i] |= who
	}
}
