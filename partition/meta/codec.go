package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// One copy, all numbers big endian:
//
//	0x00000  4   magic 0x5a4b3c2d
//	0x00004      records without padding: tag (4), length of the value (4), value; tag 0 or the end ends them
//	0x3ffdc  32  SHA-256 of the whole copy with this field zero
//	0x3fffc  4   magic 0xa5b4c3d2
const (
	CopySize = 256 * 1024   // bytes of one copy
	Size     = 2 * CopySize // bytes of both copies; they lie one after the other at the start of the partition
	// Room is how many bytes all values may take, each counted with its header of 8 bytes.
	Room = sumAt - recordsAt
	// MaxValue is the size of the longest value, when it is the only one.
	MaxValue = Room - headerSize

	magic1     = 0x5a4b3c2d
	magic2     = 0xa5b4c3d2
	recordsAt  = 4
	headerSize = 8
	sumAt      = CopySize - 36
	magic2At   = CopySize - 4
)

// Values are the tagged values of META. The zero value is empty and ready to use.
type Values struct {
	records []record
}

type record struct {
	tag   uint32 // as stored: other programs may use more than 8 bits, and what they stored is kept
	value []byte
}

// Value returns a copy of the value under tag. It is [ErrNoTag] when there is none.
func (v *Values) Value(tag uint8) ([]byte, error) {
	for i := len(v.records) - 1; i >= 0; i-- { // the last of several counts, as in Talos
		if v.records[i].tag == uint32(tag) {
			return append([]byte{}, v.records[i].value...), nil
		}
	}
	return nil, fmt.Errorf("tag %#x: %w", tag, ErrNoTag)
}

// Set stores a copy of value under tag. It refuses tag 0 and what would not fit, and then changes nothing.
func (v *Values) Set(tag uint8, value []byte) error {
	if tag == 0 {
		return ErrTag
	}
	used := 0
	for _, r := range v.records {
		if r.tag != uint32(tag) {
			used += headerSize + len(r.value)
		}
	}
	if free := Room - used - headerSize; len(value) > free {
		return fmt.Errorf("tag %#x: %d bytes, room for %d beside the other values (%d in all): %w",
			tag, len(value), max(free, 0), MaxValue, ErrFull)
	}
	at := slices.IndexFunc(v.records, func(r record) bool { return r.tag == uint32(tag) })
	if at < 0 {
		v.records = append(v.records, record{tag: uint32(tag)})
		at = len(v.records) - 1
	}
	v.records[at].value = append([]byte{}, value...)
	v.remove(uint32(tag), at+1)
	return nil
}

// Delete removes the value under tag, if there is one.
func (v *Values) Delete(tag uint8) {
	if tag != 0 {
		v.remove(uint32(tag), 0)
	}
}

// remove deletes the records of a tag from position from on.
func (v *Values) remove(tag uint32, from int) {
	kept := v.records[:from]
	for _, r := range v.records[from:] {
		if r.tag != tag {
			kept = append(kept, r)
		}
	}
	v.records = kept
}

// Tags returns the tags that have values, in rising order.
func (v *Values) Tags() []uint8 {
	tags := []uint8{}
	for _, r := range v.records {
		if r.tag <= 0xff {
			tags = append(tags, uint8(r.tag))
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

func (v *Values) clone() *Values {
	// Values are replaced, never changed in place.
	return &Values{records: slices.Clone(v.records)}
}

func (v *Values) equal(w *Values) bool {
	return slices.EqualFunc(v.records, w.records, func(a, b record) bool {
		return a.tag == b.tag && bytes.Equal(a.value, b.value)
	})
}

// Encode returns one copy, [CopySize] bytes.
func (v *Values) Encode() ([]byte, error) {
	block := make([]byte, CopySize)
	binary.BigEndian.PutUint32(block, magic1)
	at := recordsAt
	for _, r := range v.records {
		if at+headerSize+len(r.value) > sumAt {
			return nil, fmt.Errorf("encode: %w", ErrFull)
		}
		binary.BigEndian.PutUint32(block[at:], r.tag)
		binary.BigEndian.PutUint32(block[at+4:], uint32(len(r.value)))
		at += headerSize + copy(block[at+headerSize:], r.value)
	}
	binary.BigEndian.PutUint32(block[magic2At:], magic2)
	sum := sha256.Sum256(block)
	copy(block[sumAt:], sum[:])
	return block, nil
}

// Decode reads one copy. Anything that is not a valid copy is an error that says what is wrong with it.
func Decode(block []byte) (*Values, error) {
	if len(block) != CopySize {
		return nil, fmt.Errorf("%d bytes, want %d", len(block), CopySize)
	}
	if m1, m2 := binary.BigEndian.Uint32(block), binary.BigEndian.Uint32(block[magic2At:]); m1 != magic1 ||
		m2 != magic2 {
		if m1 == 0 && m2 == 0 {
			return nil, fmt.Errorf("never written")
		}
		return nil, fmt.Errorf("magic numbers %#x and %#x, want %#x and %#x", m1, m2, uint32(magic1), uint32(magic2))
	}
	h := sha256.New()
	h.Write(block[:sumAt])
	h.Write(make([]byte, sha256.Size))
	h.Write(block[magic2At:])
	if !bytes.Equal(h.Sum(nil), block[sumAt:magic2At]) {
		return nil, fmt.Errorf("checksum does not match")
	}
	return parse(block)
}

// parse reads the values of a copy whose checksum is right.
func parse(block []byte) (*Values, error) {
	v := new(Values)
	for data := block[recordsAt:sumAt]; len(data) >= headerSize; {
		tag, size := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		if tag == 0 {
			break
		}
		if uint64(size) > uint64(len(data)-headerSize) {
			return nil, fmt.Errorf("value of tag %#x has %d bytes and goes past the end", tag, size)
		}
		v.records = append(v.records, record{tag: tag, value: slices.Clone(data[headerSize : headerSize+size])})
		data = data[headerSize+size:]
	}
	return v, nil
}
