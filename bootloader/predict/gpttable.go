package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pawl-os/pawl/partition/device"
)

// gptTable is one copy of the table that is valid.
type gptTable struct {
	sector      int64
	other       uint64 // where it says that the other copy is
	firstUsable uint64
	lastUsable  uint64
	width       int64
	entries     []byte
}

// maxEntries bounds the bytes of entries that are read. Firmware takes as many as it has memory for.
const maxEntries = 16 << 20

func readTable(dev device.Reader, lba uint64) (gptTable, error) {
	sector, le := int64(dev.SectorSize()), binary.LittleEndian
	bad := func(format string, args ...any) (gptTable, error) {
		return gptTable{}, fmt.Errorf("the partition table at sector %d "+format, append([]any{lba}, args...)...)
	}
	header := make([]byte, sector)
	if lba >= uint64(dev.Size()/sector) {
		return bad("would be beyond the disk")
	}
	if _, err := dev.ReadAt(header, int64(lba)*sector); err != nil {
		return bad("cannot be read: %w", err)
	}
	size := le.Uint32(header[12:])
	if string(header[:8]) != "EFI PART" || size < 20 || int64(size) > sector {
		return bad("is not there")
	}
	sum := le.Uint32(header[16:])
	clear(header[16:20])
	if crc32.ChecksumIEEE(header[:size]) != sum {
		return bad("is damaged: the checksum of its header does not match")
	}
	if at := le.Uint64(header[24:]); at != lba {
		return bad("says that it is at sector %d", at)
	}
	count, width := int64(le.Uint32(header[80:])), int64(le.Uint32(header[84:]))
	t := gptTable{
		sector: sector, other: le.Uint64(header[32:]), firstUsable: le.Uint64(header[40:]),
		lastUsable: le.Uint64(header[48:]), width: width,
	}
	switch at := le.Uint64(header[72:]); {
	case width < 128:
		return bad("has entries of %d bytes", width)
	case le.Uint32(header[8:]) != 0x00010000, size < 92, count == 0, width&(width-1) != 0:
		return bad("is of revision %#x with a header of %d bytes and %d entries of %d, which some firmware takes and "+
			"some does not: %w",
			le.Uint32(header[8:]), size, count, width, ErrNotModelled)
	case count > maxEntries/width:
		return bad("has %d entries of %d bytes: %w", count, width, ErrNotModelled)
	case at > uint64(dev.Size()/sector):
		return bad("has its entries at sector %d, beyond the disk", at)
	default:
		t.entries = make([]byte, count*width)
		if _, err := dev.ReadAt(t.entries, int64(at)*sector); err != nil {
			return bad("has entries that cannot be read: %w", err)
		}
	}
	if crc32.ChecksumIEEE(t.entries) != le.Uint32(header[88:]) {
		return bad("is damaged: the checksum of its entries does not match")
	}
	return t, nil
}

// gptEntry is one place in a table.
type gptEntry struct {
	number      int
	raw         []byte
	first, last uint64
}

// used lists the places that are not free.
func (t gptTable) used() (all []gptEntry) {
	for i := int64(0); i < int64(len(t.entries))/t.width; i++ {
		raw := t.entries[i*t.width:][:t.width]
		if !bytes.Equal(raw[:16], make([]byte, 16)) {
			all = append(all, gptEntry{int(i + 1), raw, binary.LittleEndian.Uint64(raw[32:]),
				binary.LittleEndian.Uint64(raw[40:])})
		}
	}
	return all
}

// offered lists what firmware makes partitions of.
func (t gptTable) offered() (parts []partition) {
	all := t.used()
	overlap := make([]bool, len(all))
	outside := func(e gptEntry) bool {
		return e.first > e.last || e.first < t.firstUsable || e.last > t.lastUsable
	}
	for i, e := range all {
		if outside(e) { // it costs those before it, and not those behind
			continue
		}
		for k, other := range all[i+1:] {
			if other.last >= e.first && other.first <= e.last {
				overlap[i], overlap[i+1+k] = true, true
			}
		}
	}
	for i, e := range all {
		ignored := binary.LittleEndian.Uint64(e.raw[48:])&2 != 0 // an attribute: firmware is to leave it alone
		if !outside(e) && !overlap[i] && !ignored && e.last < farAway {
			parts = append(parts, t.partition(e))
		}
	}
	return parts
}
