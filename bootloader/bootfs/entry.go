package bootfs

import (
	"encoding/binary"
	"slices"
	"time"
)

// A directory is a list of entries of 32 bytes:
//
//	0 name and extension (8 + 3), 11 attributes, 12 case (0x08 lower name, 0x10 lower extension), 13 hundredths,
//	14 created: time, 16 date, 18 read: date, 20 cluster (upper half), 22 written: time, 24 date,
//	26 cluster (lower half), 28 size (4)
//
// A name that is no upper-case 8.3 name has entries before it, last part first, of 13 UTF-16 units each:
//
//	0 number, 0x40 marks the last part, 1 units (10), 11 0x0f, 12 0, 13 checksum of the short name, 14 units (12),
//	26 0, 28 units (4)
const (
	slotSize = 32

	attrLabel = 0x08
	attrDir   = 0x10
	attrFile  = 0x20
	attrLong  = 0x0f
	attrMask  = 0x3f

	slotEnd     = 0x00 // this entry and all after it are unused
	slotDeleted = 0xe5

	maxFileSize = 1<<32 - 1
)

// entry is a file or a directory as its directory describes it.
type entry struct {
	name  string   // the long name, or the short one
	short [11]byte // as on the device
	alias string   // the short name as text
	other string   // the same by code page 850, where that differs
	dir   bool
	first uint32 // cluster, 0 for an empty file
	size  int64
	mod   time.Time
	slots []int64 // where its entries are on the device, the short one last
}

// decodeShort reads a short entry; b has 32 bytes.
func decodeShort(b []byte) entry {
	le := binary.LittleEndian
	e := entry{
		dir:   b[11]&attrDir != 0,
		first: uint32(le.Uint16(b[20:]))<<16 | uint32(le.Uint16(b[26:])),
		size:  int64(le.Uint32(b[28:])),
		mod:   decodeTime(le.Uint16(b[24:]), le.Uint16(b[22:])),
	}
	copy(e.short[:], b)
	e.alias = shortText(e.short, b[12], cp437)
	if slices.ContainsFunc(b[:11], func(c byte) bool { return c >= 0x80 }) || b[0] == 0x05 {
		e.other = shortText(e.short, b[12], cp850)
	}
	e.name = e.alias
	return e
}

// encodeShort is a new short entry.
func encodeShort(e entry) []byte {
	b := make([]byte, slotSize)
	copy(b, e.short[:])
	b[11] = attrFile
	if e.dir {
		b[11] = attrDir
	}
	date, clock := encodeTime(e.mod)
	le := binary.LittleEndian
	le.PutUint16(b[14:], clock)
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date)
	patchShort(b, e)
	return b
}

// patchShort changes where an entry's content is, its size and when it was written.
func patchShort(b []byte, e entry) {
	le := binary.LittleEndian
	date, clock := encodeTime(e.mod)
	le.PutUint16(b[20:], uint16(e.first>>16))
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(e.first))
	le.PutUint32(b[28:], uint32(e.size))
}

// encodeTime has a resolution of two seconds and the years 1980 to 2107; others become the nearest.
func encodeTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	switch {
	case t.Year() < 1980:
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 2107:
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}

// decodeTime returns the zero time for a date that is none.
func decodeTime(date, clock uint16) time.Time {
	month, day := time.Month(date>>5&15), int(date&31)
	if month < 1 || month > 12 || day == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), month, day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}
