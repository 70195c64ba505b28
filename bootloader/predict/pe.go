package predict

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
)

var (
	errImage   = errors.New("not an image that this firmware loads")
	errMachine = errors.New("refused: it is for another kind of machine")
	errRefused = errors.New("refused by this firmware")
)

type section struct {
	name string
	data []byte // of a long one the beginning: see mostOfSection
}

// mostOfSection is more than the model looks at in any section.
const mostOfSection = 64 << 10

// loadImage does the checks of EDK II's loader: headers that make sense, and every section's last byte there. Contents
// are not looked at: garbage within a section loads.
func loadImage(r io.ReaderAt, length int64, machine uint16) ([]section, error) {
	le := binary.LittleEndian
	at := int64(0)
	dos, err := readAt(r, length, 0, 64)
	if err == nil && dos[0] == 'M' && dos[1] == 'Z' {
		at = int64(le.Uint32(dos[60:]))
	}
	// The loader reads the headers with all 16 directories at once.
	b, err := readAt(r, length, at, 264)
	if err != nil {
		return nil, err
	}
	if string(b[:4]) != "PE\x00\x00" {
		return nil, errImage
	}
	coff, opt := b[4:], b[24:]
	count, optSize := int(le.Uint16(coff[2:])), int(le.Uint16(coff[16:]))
	imageSize, headers := int64(le.Uint32(opt[56:])), int64(le.Uint32(opt[60:]))
	directories := int64(le.Uint32(opt[108:]))
	table := at + 24 + int64(optSize)
	switch {
	case le.Uint16(coff) != machine:
		return nil, errMachine
	case le.Uint16(opt) != 0x20b:
		return nil, errImage
	case directories > 16, int64(optSize) != 112+8*directories:
		return nil, errImage
	case table >= imageSize, (imageSize-table)/40 <= int64(count):
		return nil, errImage
	case headers >= imageSize, headers < table, (headers-table)/40 < int64(count), headers > length:
		return nil, errImage
	}
	if sub := le.Uint16(opt[68:]); sub < 10 || sub > 12 {
		return nil, errImage
	}
	if directories > 4 {
		// The certificate table, the only directory whose address is an offset in the file.
		if from, size := int64(le.Uint32(opt[112+32:])), int64(le.Uint32(opt[112+36:])); size > 0 &&
			from+size > length {
			return nil, errImage
		}
	}
	entries, err := readAt(r, length, table, 40*int64(count))
	if err != nil {
		return nil, err
	}
	var sections []section
	end := table + 40*int64(count)
	for i := range count {
		s := entries[40*i:]
		virtual, address := int64(le.Uint32(s[8:])), int64(le.Uint32(s[12:]))
		size, raw := int64(le.Uint32(s[16:])), int64(le.Uint32(s[20:]))
		if size > 0 && (address < headers || raw < headers || raw+size > length) {
			return nil, errImage
		}
		if virtual == 0 {
			virtual = size
		}
		if address+virtual > imageSize {
			return nil, errImage
		}
		name, _, _ := bytes.Cut(s[:8], []byte{0})
		if long := sectionName(r, length, coff, string(name)); long != "" {
			name = []byte(long)
		}
		var data []byte
		if size > 0 {
			if data, err = readAt(r, length, raw, min(size, virtual, mostOfSection)); err != nil {
				return nil, err
			}
		}
		sections = append(sections, section{string(name), data})
		end = max(end, raw+size)
	}
	return withRest(sections, r, length, end)
}

// withRest adds what lies behind all sections, from end on, where none of them says what the program is: see magic.
func withRest(sections []section, r io.ReaderAt, length, end int64) ([]section, error) {
	if find(sections, ".sdmagic") != nil || end >= length {
		return sections, nil
	}
	rest, err := readAt(r, length, end, min(length-end, mostOfSection))
	if err != nil {
		return nil, err
	}
	return append(sections, section{behind, rest}), nil
}

// sectionName is the name of a section that is longer than 8 bytes: "/37" says where it is in the table of strings,
// behind the symbols of 18 bytes each. "" where there is none.
func sectionName(r io.ReaderAt, length int64, coff []byte, name string) string {
	digits, long := strings.CutPrefix(name, "/")
	off, err := strconv.ParseUint(digits, 10, 24)
	symbols, count := int64(binary.LittleEndian.Uint32(coff[8:])), int64(binary.LittleEndian.Uint32(coff[12:]))
	if !long || err != nil || symbols == 0 {
		return ""
	}
	at := symbols + 18*count + int64(off)
	b, err := readAt(r, length, at, min(32, length-at))
	if err != nil {
		return ""
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

// readAt reads n bytes of a file of a known length; what goes beyond it is errImage.
func readAt(r io.ReaderAt, length, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off+n > length {
		return nil, errImage
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, off, n), b); err != nil {
		return nil, err
	}
	return b, nil
}

func find(sections []section, name string) []byte {
	for _, s := range sections {
		if s.name == name {
			return s.data
		}
	}
	return nil
}

// magic is what a program of systemd says of itself, and what follows. For arm64 systemd 252 is linked without a
// section for it, and has it behind all sections.
func magic(sections []section) string {
	if text := find(sections, ".sdmagic"); text != nil {
		return string(text)
	}
	data := find(sections, behind)
	if at := bytes.Index(data, []byte(sdMagic)); at >= 0 {
		return string(data[at:])
	}
	return ""
}

// behind names what lies in the file behind all sections; no section has such a name.
const behind = "(behind)"

// sdMagic is what systemd-boot carries in its section .sdmagic, by which it knows itself.
const sdMagic = "#### LoaderInfo: systemd-boot "
