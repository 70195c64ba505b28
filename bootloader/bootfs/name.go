package bootfs

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// split returns the elements of a path; none for the root.
func split(p string) []string {
	p = strings.Trim(path.Clean("/"+p), "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// cp437 has the characters 0x80 to 0xff of short names, as the kernel reads them unless told otherwise.
var cp437 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")

// cp850 has the same by the code page that mtools writes.
var cp850 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±‗¾¶§÷¸°¨·¹³²■\u00a0")

// shortText is a short name as text, by a code page. The flags say which half is shown in lower case.
func shortText(short [11]byte, flags byte, page []rune) string {
	half := func(text, b []byte, lower bool) []byte {
		start := len(text)
		for i, c := range b {
			switch {
			case i == 0 && len(b) == 8 && c == 0x05:
				c = 0xe5 // 0xe5 itself would mark the entry deleted
				fallthrough
			case c >= 0x80:
				text = utf8.AppendRune(text, page[c-0x80])
			default:
				text = append(text, c)
			}
		}
		for len(text) > start && text[len(text)-1] == ' ' {
			text = text[:len(text)-1]
		}
		if lower {
			text = append(text[:start], strings.ToLower(string(text[start:]))...)
		}
		return text
	}
	name := half(make([]byte, 0, 40), short[:8], flags&0x08 != 0)
	text := half(append(name, '.'), short[8:], flags&0x10 != 0)
	if len(text) == len(name)+1 {
		text = name
	}
	return tame(string(text))
}

// checksum ties long entries to their short one.
func checksum(short [11]byte) byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// checkName refuses what no FAT name can be.
func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case len(utf16.Encode([]rune(name))) > 255:
		return fmt.Errorf("name %q is longer than 255 UTF-16 units", name)
	case name == "" || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return fmt.Errorf("name %q is empty or has a space or dot at its end", name)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("name %q: %q is not allowed", name, r)
		}
	}
	return nil
}

const shortPunctuation = "!#$%&'()-@^_`{}~"

// exactShort returns the 8.3 form of a name that needs no long one: upper case and nothing special.
func exactShort(name string) (short [11]byte, ok bool) {
	for i := range short {
		short[i] = ' '
	}
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" {
		return short, false
	}
	for _, c := range []byte(base + ext) {
		upper := c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(shortPunctuation, c) >= 0
		if !upper {
			return short, false
		}
	}
	copy(short[:8], base)
	copy(short[8:], ext)
	return short, true
}

// newShort finds a short name that nobody in the directory has. A number is appended unless the name differs from its
// short form by case only.
func newShort(name string, taken func([11]byte) bool) ([11]byte, error) {
	if short, ok := exactShort(strings.ToUpper(name)); ok && !taken(short) && isASCII(name) {
		return short, nil
	}
	base, ext := name, ""
	if i := strings.LastIndexByte(strings.TrimLeft(name, "."), '.'); i >= 0 {
		i += len(name) - len(strings.TrimLeft(name, "."))
		base, ext = name[:i], name[i+1:]
	}
	base, ext = squeeze(base, 8), squeeze(ext, 3)
	for i := 1; i < 1_000_000; i++ {
		tail := fmt.Sprintf("~%d", i)
		short := [11]byte([]byte("           "))
		copy(short[:8], base[:min(len(base), 8-len(tail))]+tail)
		copy(short[8:], ext)
		if !taken(short) {
			return short, nil
		}
	}
	return [11]byte{}, fmt.Errorf("name %q: no short name is left in its directory", name)
}

// squeeze makes a name fit for a short one: upper case, without spaces and dots, "_" for what cannot be said.
func squeeze(s string, n int) string {
	var b strings.Builder
	for _, r := range strings.ToUpper(s) {
		switch {
		case r == ' ' || r == '.':
			continue
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune(shortPunctuation, r):
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
		if b.Len() == n {
			break
		}
	}
	return b.String()
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// longUnits are where a long entry has its 13 UTF-16 units.
var longUnits = [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// encodeLong is the long entries of a name in the order in which they stand on the device; none for a name that is its
// short name.
func encodeLong(name string, short [11]byte) [][]byte {
	if exact, ok := exactShort(name); ok && exact == short {
		return nil
	}
	units := utf16.Encode([]rune(name))
	parts := (len(units) + 12) / 13
	sum := checksum(short)
	var out [][]byte
	for n := parts; n >= 1; n-- {
		b := make([]byte, slotSize)
		b[0], b[11], b[13] = byte(n), attrLong, sum
		if n == parts {
			b[0] |= 0x40
		}
		for i, at := range longUnits {
			unit := uint16(0xffff)
			switch k := 13*(n-1) + i; {
			case k < len(units):
				unit = units[k]
			case k == len(units):
				unit = 0
			}
			binary.LittleEndian.PutUint16(b[at:], unit)
		}
		out = append(out, b)
	}
	return out
}

// long collects the parts of a long name while a directory is read.
type long struct {
	units [13 * maxParts]uint16 // the parts so far, each in its place
	n     int                   // units that all parts have
	next  int                   // the number of the part that must follow, 0: none
	done  bool                  // all parts are there
	sum   byte
	slots []int64
}

// maxParts is how many parts a long name may have.
const maxParts = 20

// drop forgets what was collected.
func (l *long) drop() { l.n, l.next, l.done, l.slots = 0, 0, false, nil }

// add takes a long entry. One that does not follow starts anew or drops what was collected.
func (l *long) add(b []byte, off int64) {
	n := int(b[0] & 0x3f)
	switch {
	case b[0]&0x40 != 0 && n >= 1 && n <= maxParts:
		l.n, l.next, l.sum, l.done, l.slots = 13*n, n, b[13], false, make([]int64, 0, n+1)
	case n == 0 || n != l.next || b[13] != l.sum:
		l.drop()
		return
	}
	for i, at := range longUnits {
		l.units[13*(n-1)+i] = binary.LittleEndian.Uint16(b[at:])
	}
	l.slots = append(l.slots, off)
	l.next = n - 1
	l.done = l.next == 0
}

// name is the long name for the short entry that follows, if the parts are whole and belong to it.
func (l *long) name(short [11]byte) (string, bool) {
	if !l.done || l.sum != checksum(short) {
		return "", false
	}
	units := l.units[:l.n]
	text := make([]byte, 0, 64)
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
		text = append(text, byte(u))
	}
	switch {
	case len(units) == 0:
		return "", false
	case slices.ContainsFunc(units, func(u uint16) bool { return u >= 0x80 }):
		return tame(string(utf16.Decode(units))), true
	}
	return tame(string(text)), true
}

// tame replaces what would make a name read from a device more than a name: separators, control characters, dots.
func tame(name string) string {
	if name == "." || name == ".." {
		return "\ufffd"
	}
	if !strings.ContainsFunc(name, separates) {
		return name
	}
	return strings.Map(func(r rune) rune {
		if separates(r) {
			return '\ufffd'
		}
		return r
	}, name)
}

func separates(r rune) bool {
	return r < 0x20 || r == 0x7f || r == '/' || r == '\\' || r == utf8.RuneError
}
