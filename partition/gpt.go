package partition

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
)

// The header, one sector, little endian (UEFI 5.3.2):
//
//	 0  8  "EFI PART"             40  8  first usable sector
//	 8  4  revision 0x00010000    48  8  last usable sector
//	12  4  header size            56  16 GUID of the disk
//	16  4  CRC-32 of the header   72  8  sector of the entries
//	       with this field zero   80  4  number of entries
//	20  4  reserved, zero         84  4  size of an entry
//	24  8  sector of this header  88  4  CRC-32 of the entries
//	32  8  sector of the other    92     the rest, zero
//
// An entry (5.3.3): type 16, GUID 16, first sector 8, last sector 8, attributes 8, name 72 (UTF-16, ends at a zero).
const (
	signature  = "EFI PART"
	revision   = 0x00010000
	headerSize = 92
	entrySize  = 128 // the least, and what new tables have
	nameAt     = 56
	nameUnits  = 36
	newEntries = 128     // places in a new table
	maxTable   = 1 << 20 // bytes of entries that are read at most
	maxSectors = 1 << 50 // of any disk, so that offsets in bytes fit 63 bits
)

// header is one copy's header without what is computed.
type header struct {
	self, other             int64
	firstUsable, lastUsable int64
	guid                    uuid.UUID
	entriesAt               int64
	entries, entrySize      int
	entriesCRC              uint32
	extra                   string // bytes from 92 to the header's size
}

// decodeHeader reads the header in sector number self.
func decodeHeader(b []byte, self int64) (header, error) {
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != signature {
		return header{}, errNoSignature
	}
	size := int(le.Uint32(b[12:]))
	if rev := le.Uint32(b[8:]); rev>>16 != revision>>16 {
		return header{}, fmt.Errorf("revision %#x, want %#x", rev, revision)
	}
	if size < headerSize || size > len(b) {
		return header{}, fmt.Errorf("header of %d bytes", size)
	}
	clean := slices.Clone(b[:size])
	clear(clean[16:20])
	if crc := le.Uint32(b[16:]); crc != crc32.ChecksumIEEE(clean) {
		return header{}, fmt.Errorf("checksum of the header does not match")
	}
	h := header{
		self: int64(le.Uint64(b[24:])), other: int64(le.Uint64(b[32:])),
		firstUsable: int64(le.Uint64(b[40:])), lastUsable: int64(le.Uint64(b[48:])),
		guid: guid(b[56:]), entriesAt: int64(le.Uint64(b[72:])),
		entries: int(le.Uint32(b[80:])), entrySize: int(le.Uint32(b[84:])), entriesCRC: le.Uint32(b[88:]),
		extra: string(b[headerSize:size]),
	}
	switch {
	case h.self != self:
		return header{}, fmt.Errorf("header says that it is in sector %d, and is in %d", h.self, self)
	case h.entrySize < entrySize || h.entrySize%8 != 0 || h.entrySize > 4096:
		return header{}, fmt.Errorf("entries of %d bytes", h.entrySize)
	case h.entries < 1 || h.entries*h.entrySize > maxTable:
		return header{}, fmt.Errorf("%d entries of %d bytes", h.entries, h.entrySize)
	case h.other < 0 || h.firstUsable < 0 || h.lastUsable < h.firstUsable-1 || h.entriesAt < 2:
		return header{}, fmt.Errorf("usable sectors %d to %d, entries at %d", h.firstUsable, h.lastUsable, h.entriesAt)
	}
	return h, nil
}

// encode returns the header's sector.
func (h header) encode(sectorSize int) []byte {
	le, b := binary.LittleEndian, make([]byte, sectorSize)
	size := headerSize + len(h.extra)
	copy(b, signature)
	le.PutUint32(b[8:], revision)
	le.PutUint32(b[12:], uint32(size))
	le.PutUint64(b[24:], uint64(h.self))
	le.PutUint64(b[32:], uint64(h.other))
	le.PutUint64(b[40:], uint64(h.firstUsable))
	le.PutUint64(b[48:], uint64(h.lastUsable))
	putGUID(b[56:], h.guid)
	le.PutUint64(b[72:], uint64(h.entriesAt))
	le.PutUint32(b[80:], uint32(h.entries))
	le.PutUint32(b[84:], uint32(h.entrySize))
	le.PutUint32(b[88:], h.entriesCRC)
	copy(b[headerSize:], h.extra)
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:size]))
	return b
}

// badEntry is a place of a table that is taken and holds no partition. Firmware and systems pass it over; it is kept.
type badEntry struct {
	number      int
	first, last uint64
	raw         string
}

// decodeEntries reads a table's entries; places without a type are free and left out.
func decodeEntries(b []byte, size int) (found []Partition, bad []badEntry) {
	le := binary.LittleEndian
	for n := 1; n*size <= len(b); n++ {
		e := b[(n-1)*size : n*size]
		if guid(e) == uuid.Nil {
			continue
		}
		p := Partition{
			Number: n, Type: guid(e), GUID: guid(e[16:]), First: int64(le.Uint64(e[32:])),
			Attributes: le.Uint64(e[48:]), Label: decodeName(e[nameAt:]), raw: string(e),
		}
		last := int64(le.Uint64(e[40:]))
		if p.First < 1 || last < p.First || last > maxSectors {
			bad = append(bad, badEntry{n, le.Uint64(e[32:]), le.Uint64(e[40:]), string(e)})
			continue
		}
		p.Sectors = last - p.First + 1
		found = append(found, p)
	}
	return found, bad
}

// encodeEntries returns the table's entries. Bytes of an entry that was read and that no field holds are kept.
func (l Layout) encodeEntries() ([]byte, error) {
	le, b := binary.LittleEndian, make([]byte, l.Entries*l.entrySize)
	for _, e := range l.bad {
		copy(b[(e.number-1)*l.entrySize:][:l.entrySize], e.raw)
	}
	for _, p := range l.Partitions {
		e := b[(p.Number-1)*l.entrySize:][:l.entrySize]
		copy(e, p.raw)
		putGUID(e, p.Type)
		putGUID(e[16:], p.GUID)
		le.PutUint64(e[32:], uint64(p.First))
		le.PutUint64(e[40:], uint64(p.Last()))
		le.PutUint64(e[48:], p.Attributes)
		if p.raw == "" || decodeName(e[nameAt:]) != p.Label {
			if err := encodeName(e[nameAt:][:nameUnits*2], p.Label); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

func decodeName(b []byte) string {
	units := make([]uint16, 0, nameUnits)
	for i := range nameUnits {
		u := binary.LittleEndian.Uint16(b[2*i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

func encodeName(b []byte, name string) error {
	units := utf16.Encode([]rune(name))
	if len(units) > nameUnits || strings.ContainsRune(name, 0) {
		return fmt.Errorf("label %q: want at most %d characters, none of them zero", name, nameUnits)
	}
	clear(b)
	for i, u := range units {
		binary.LittleEndian.PutUint16(b[2*i:], u)
	}
	return nil
}

// guid reads a GUID in GPT's byte order: the first three fields little endian.
func guid(b []byte) (u uuid.UUID) {
	copy(u[:], b)
	swapGUID(u[:])
	return u
}

func putGUID(b []byte, u uuid.UUID) {
	copy(b, u[:])
	swapGUID(b)
}

func swapGUID(b []byte) {
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
}
