package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sort"
)

// What is read of a PE32+ file, all little endian:
//
//	0x00  "MZ"            0x3c  u32 offset of the PE signature (P)
//	P+0   "PE\0\0"
//	P+4   u16 machine     P+6   u16 sections     P+12 u32 symbol table   P+16 u32 symbols   P+20 u16 optional header size
//	P+24  optional header (O)
//	O+0   u16 0x020b      O+8   u32 size of initialized data
//	O+32  u32 section alignment                  O+36 u32 file alignment
//	O+56  u32 size of image                      O+60 u32 size of headers                   O+64 u32 checksum
//	O+108 u32 data directories (N)               O+112 N times u32 address, u32 size; the fifth is the certificates
//	behind the optional header: the section table, 40 bytes each
//	S+0   name[8]         S+8   u32 virtual size S+12 u32 virtual address
//	S+16  u32 raw size    S+20  u32 raw offset   S+36 u32 characteristics
const (
	coffSize        = 24 // signature included
	optionalFixed   = 112
	sectionSize     = 40
	maxHeaders      = 64 << 10
	maxSections     = 96
	certificatesDir = 4
	pageSize        = 4096

	initializedReadable = 0x40000040 // IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
)

// headers is what the offsets above hold, with raw the bytes up to the size of headers.
type headers struct {
	raw              []byte
	optional         int // offset of the optional header
	table            int // offset of the section table
	machine          uint16
	sectionAlignment uint32
	fileAlignment    uint32
	imageSize        uint32
	directories      uint32
	sections         []header
}

// header is one entry of the section table.
type header struct {
	name                            string
	virtualSize, virtualAddress     uint32
	rawSize, rawOffset, permissions uint32
}

// dataSize is the bytes that are both in the file and in memory.
func (s header) dataSize() uint32 {
	if s.virtualSize != 0 && s.virtualSize < s.rawSize {
		return s.virtualSize
	}
	return s.rawSize
}

// memorySize is the bytes that the section takes in memory.
func (s header) memorySize() uint32 {
	if s.virtualSize == 0 {
		return s.rawSize
	}
	return s.virtualSize
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrFormat)
}

// readHeaders reads and bounds the headers of a file of size bytes.
func readHeaders(r io.ReaderAt, size int64) (*headers, error) {
	if size < 64 {
		return nil, malformed("%d bytes are too few", size)
	}
	raw := make([]byte, min(size, maxHeaders))
	if n, err := r.ReadAt(raw, 0); n < len(raw) {
		return nil, fmt.Errorf("read headers: %w", err)
	}
	le := binary.LittleEndian
	if raw[0] != 'M' || raw[1] != 'Z' {
		return nil, malformed("it does not start with MZ")
	}
	pe := int64(le.Uint32(raw[0x3c:]))
	if pe < 4 || pe+coffSize+optionalFixed > int64(len(raw)) {
		return nil, malformed("PE header at %d is outside of the file", pe)
	}
	if !bytes.Equal(raw[pe:pe+4], []byte("PE\x00\x00")) {
		return nil, malformed("no PE signature at %d", pe)
	}
	optional := pe + coffSize
	if magic := le.Uint16(raw[optional:]); magic != 0x020b {
		return nil, malformed("optional header has magic %#04x, want PE32+", magic)
	}
	h := &headers{
		optional:         int(optional),
		machine:          le.Uint16(raw[pe+4:]),
		sectionAlignment: le.Uint32(raw[optional+32:]),
		fileAlignment:    le.Uint32(raw[optional+36:]),
		imageSize:        le.Uint32(raw[optional+56:]),
		directories:      le.Uint32(raw[optional+108:]),
	}
	optionalSize := int64(le.Uint16(raw[pe+20:]))
	if h.directories > 16 || optionalSize < optionalFixed+8*int64(h.directories) {
		return nil, malformed("optional header of %d bytes with %d directories", optionalSize, h.directories)
	}
	if !powerOfTwo(h.fileAlignment) || !powerOfTwo(h.sectionAlignment) {
		return nil, malformed("alignments %#x and %#x", h.sectionAlignment, h.fileAlignment)
	}
	table, count := optional+optionalSize, int64(le.Uint16(raw[pe+6:]))
	headersSize := int64(le.Uint32(raw[optional+60:]))
	switch {
	case count == 0 || count > maxSections:
		return nil, malformed("%d sections", count)
	case headersSize > int64(len(raw)) || table+count*sectionSize > headersSize:
		return nil, malformed("headers of %d bytes in a file of %d", headersSize, size)
	}
	h.table, h.raw = int(table), raw[:headersSize]
	for i := range count {
		s := raw[table+i*sectionSize:]
		h.sections = append(h.sections, header{
			name:        string(bytes.TrimRight(s[:8], "\x00")),
			virtualSize: le.Uint32(s[8:]), virtualAddress: le.Uint32(s[12:]),
			rawSize: le.Uint32(s[16:]), rawOffset: le.Uint32(s[20:]), permissions: le.Uint32(s[36:]),
		})
	}
	return h, h.check(size)
}

// check bounds the sections by the file and by the image in memory, and refuses overlaps in either.
func (h *headers) check(size int64) error {
	for _, s := range h.sections {
		end := int64(s.rawOffset) + int64(s.rawSize)
		switch {
		case s.rawSize > 0 && int64(s.rawOffset) < int64(len(h.raw)):
			return malformed("section %q starts inside the headers", s.name)
		case s.rawSize > 0 && end > size:
			return malformed("section %q ends at byte %d of a file of %d: the file is truncated", s.name, end, size)
		case int64(s.virtualAddress)+int64(s.memorySize()) > int64(h.imageSize):
			return malformed("section %q ends outside of the image of %d bytes in memory", s.name, h.imageSize)
		}
	}
	if a, b, yes := overlap(h.sections, func(s header) (uint32, uint32) { return s.rawOffset, s.rawSize }); yes {
		return malformed("sections %q and %q overlap in the file", a, b)
	}
	if a, b, yes := overlap(h.sections, func(s header) (uint32, uint32) {
		return s.virtualAddress,
			s.memorySize()
	}); yes {
		return malformed("sections %q and %q overlap in memory", a, b)
	}
	return nil
}

// overlap names two sections whose extents (start, length) share a byte.
func overlap(sections []header, extent func(header) (uint32, uint32)) (a, b string, yes bool) {
	var by []header
	for _, s := range sections {
		if _, n := extent(s); n > 0 {
			by = append(by, s)
		}
	}
	sort.SliceStable(by, func(i, j int) bool {
		x, _ := extent(by[i])
		y, _ := extent(by[j])
		return x < y
	})
	for i := 1; i < len(by); i++ {
		start, length := extent(by[i-1])
		if next, _ := extent(by[i]); int64(next) < int64(start)+int64(length) {
			return by[i-1].name, by[i].name, true
		}
	}
	return "", "", false
}

func powerOfTwo(n uint32) bool { return n != 0 && n&(n-1) == 0 }

func alignUp(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }
