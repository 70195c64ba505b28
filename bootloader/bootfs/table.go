package bootfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Values of table entries; the upper four bits are reserved and kept as they are.
const (
	entryMask = 0x0fffffff
	entryFree = 0
	entryLost = 1          // in memory only: neither copy could be read
	entryBad  = 0x0ffffff7 // the medium is bad here
	entryLast = 0x0ffffff8 // and above: the chain ends
	entryEnd  = 0x0fffffff // what is written to end a chain
)

// load reads both copies of the table. Where the first cannot be read the second stands in, which serves to account for
// clusters only; whatever is read by way of it is read again from the first. Sectors that differ, or that cannot
// be read, are noted and rewritten by the next operation that may write them.
func (f *FS) load() {
	v := &f.vol
	f.table = make([]uint32, v.end)
	sectors := (4*int64(v.end) + int64(v.unit) - 1) / int64(v.unit)
	f.stale, f.empty = make([]bool, sectors), make([]bool, sectors)
	chunk := min(4*blockSize, sectors*int64(v.unit)) // two of them stay in the processor's nearest cache
	buf := [2][]byte{make([]byte, chunk), make([]byte, chunk)}
	for at := int64(0); at < sectors*int64(v.unit); at += chunk {
		n := min(chunk, sectors*int64(v.unit)-at)
		n = min(n, v.fatBytes-at)
		ok := f.read(v.fat[0]+at, buf[0][:n]) == nil && f.read(v.fat[1]+at, buf[1][:n]) == nil
		for s := int64(0); s < n; s += int64(v.unit) {
			one, two := buf[0][s:s+int64(v.unit)], buf[1][s:s+int64(v.unit)]
			ok1, ok2 := true, true
			if !ok {
				ok1 = f.read(v.fat[0]+at+s, one) == nil
				ok2 = f.read(v.fat[1]+at+s, two) == nil
			}
			f.loadSector((at+s)/int64(v.unit), one, two, ok1, ok2)
		}
	}
}

func (f *FS) loadSector(sector int64, one, two []byte, ok1, ok2 bool) {
	f.stale[sector] = !ok1 || !ok2 || string(one) != string(two)
	if f.empty[sector] = !f.stale[sector] && one[0] == 0 && bytes.Equal(one[:len(one)-1], one[1:]); f.empty[sector] {
		return // as most of a volume is
	}
	src := one
	if !ok1 {
		src = two
	}
	first := sector * int64(f.vol.unit) / 4
	for i := 0; i < len(src); i += 4 {
		c := first + int64(i/4)
		if c >= int64(f.vol.end) {
			return
		}
		f.table[c] = entryLost
		if ok1 || ok2 {
			f.table[c] = binary.LittleEndian.Uint32(src[i:])
		}
	}
}

// set changes an entry in memory; writeTable brings it to the device.
func (f *FS) set(c, value uint32) {
	f.table[c] = f.table[c]&^entryMask | value
	sector := 4 * int64(c) / int64(f.vol.unit)
	f.stale[sector], f.empty[sector] = true, false
}

// writeTable writes every sector that changed, or whose copies differ, and that the owner may write, to the first table
// and then to the second.
//
// There is no flush between the two. Before it is called, nothing that is reachable depends on the entries that
// change; so each mix of old, new and destroyed sectors leaves what is reachable as it was, but for a destroyed sector,
// which costs entries of the owner's zone in its first table whether the second is whole or not. The caller flushes
// before it makes anything reachable.
func (f *FS) writeTable(owner byte, near neighbours) error {
	unit := int64(f.vol.unit)
	for copy := range f.vol.tables {
		for s := int64(0); s < int64(len(f.stale)); {
			if !f.stale[s] || !f.mayMend(owner, near, s) {
				s++
				continue
			}
			start := s
			for s < int64(len(f.stale)) && s-start < 2048 && f.stale[s] && f.mayMend(owner, near, s) {
				s++
			}
			if err := f.write(f.vol.fat[copy]+start*unit, f.encodeTable(start, s)); err != nil {
				return fmt.Errorf("table %d: %w", copy+1, err)
			}
		}
	}
	for s := range f.stale {
		if f.stale[s] && f.mayMend(owner, near, int64(s)) {
			f.stale[s] = false
		}
	}
	return nil
}

// encodeTable is the sectors from start up to end. Entries past the last cluster are zero.
func (f *FS) encodeTable(start, end int64) []byte {
	b := make([]byte, (end-start)*int64(f.vol.unit))
	first := start * int64(f.vol.unit) / 4
	for i := range len(b) / 4 {
		if c := first + int64(i); c < int64(len(f.table)) {
			binary.LittleEndian.PutUint32(b[4*i:], f.table[c])
		}
	}
	return b
}

// mayWriteSector reports whether no other owner has anything in the blocks that hold sector s of either table.
func (f *FS) mayWriteSector(owner byte, blocks []byte, s int64) bool {
	at := s * int64(f.vol.unit)
	one, two := (f.vol.fat[0]+at)/blockSize, (f.vol.fat[1]+at)/blockSize
	return (blocks[one]|blocks[two])&owners&^owner == 0
}

// mayMend is mayWriteSector for what need not be written now. It also leaves a page of the first table alone that
// another owner has something in, unless the owner has something in that very block.
func (f *FS) mayMend(owner byte, near neighbours, s int64) bool {
	if !f.mayWriteSector(owner, near.blocks, s) {
		return false
	}
	at := s * int64(f.vol.unit)
	return near.tables[f.vol.tablePage(uint32(at/4))]&owners&^owner == 0 ||
		near.blocks[(f.vol.fat[0]+at)/blockSize]&owner != 0
}

// chain follows the first table on the device, one block at a time.
type chain struct {
	f   *FS
	at  int64 // offset of buf, 0 when nothing is read yet
	buf []byte
}

// next returns the cluster after c, and 0 at the end.
func (ch *chain) next(c uint32) (uint32, error) {
	v := &ch.f.vol
	off := v.fat[0] + 4*int64(c)
	at := off &^ (int64(v.unit) - 1)
	if size := int64(blockSize); ch.at == 0 || off < ch.at || off >= ch.at+size {
		if ch.buf == nil { // most directories have one cluster, whose end nobody looks for
			ch.buf = make([]byte, blockSize)
		}
		n := min(size, v.fat[0]+v.fatBytes-at)
		if err := ch.f.read(at, ch.buf[:n]); err != nil {
			// A sector that cannot be read must not hide its neighbours.
			n = int64(v.unit)
			if err = ch.f.read(at, ch.buf[:n]); err != nil {
				ch.at = 0
				return 0, fmt.Errorf("table entry %d: %w", c, err)
			}
			value := binary.LittleEndian.Uint32(ch.buf[off-at:])
			ch.at = 0
			return v.link(c, value)
		}
		ch.at = at
	}
	return v.link(c, binary.LittleEndian.Uint32(ch.buf[off-ch.at:]))
}

// link reads the value of c's entry as the number of the next cluster, 0 at the end.
func (v *volume) link(c, value uint32) (uint32, error) {
	value &= entryMask
	switch {
	case value >= entryLast:
		return 0, nil
	case v.valid(value):
		return value, nil
	}
	return 0, fmt.Errorf("table entry %d: %#x is no cluster: %w", c, value, ErrDamaged)
}
