package ext4

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// namespaces are those of extended attributes that are kept as they are, and their numbers.
var namespaces = map[string]byte{"user": 1, "trusted": 4, "security": 6}

type attribute struct {
	space       byte
	name, value string
}

// attributeBlock holds extended attributes: entries from the front, values from the end. It is nil without any.
func attributeBlock(all map[string]string) ([]byte, error) {
	if len(all) == 0 {
		return nil, nil
	}
	const head, entry = 32, 16
	var list []attribute
	for _, full := range slices.Sorted(maps.Keys(all)) {
		space, name, _ := strings.Cut(full, ".")
		a := attribute{namespaces[space], name, all[full]}
		ascii := strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
		if a.space == 0 || name == "" || len(name) > 255 || !ascii {
			return nil, fmt.Errorf("attribute %q: want user., trusted. or security. and a name", full)
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b attribute) int { // as the kernel looks for them
		return cmp.Or(cmp.Compare(a.space, b.space), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	b := make([]byte, blockSize)
	le.PutUint32(b, 0xea020000)
	le.PutUint32(b[4:], 1) // one inode has it
	le.PutUint32(b[8:], 1) // block
	at, end, sum := head, blockSize, uint32(0)
	for _, a := range list {
		next := at + entry + (len(a.name)+3)/4*4
		if end -= (len(a.value) + 3) / 4 * 4; end < next+4 {
			return nil, fmt.Errorf("attributes of %d bytes: they do not fit into a block", len(a.value))
		}
		copy(b[end:], a.value)
		b[at], b[at+1] = byte(len(a.name)), a.space
		if len(a.value) > 0 {
			le.PutUint16(b[at+2:], uint16(end))
		}
		le.PutUint32(b[at+8:], uint32(len(a.value)))
		h := hash(a.name, b[end:end+(len(a.value)+3)/4*4])
		le.PutUint32(b[at+12:], h)
		copy(b[at+entry:], a.name)
		at, sum = next, sum<<16^sum>>16^h
	}
	le.PutUint32(b[12:], sum)
	return b, nil
}

// hash is that of an attribute with its value, which is padded.
func hash(name string, value []byte) (h uint32) {
	for i := range len(name) {
		h = h<<5 ^ h>>27 ^ uint32(name[i])
	}
	for ; len(value) > 0; value = value[4:] {
		h = h<<16 ^ h>>16 ^ le.Uint32(value)
	}
	return h
}
