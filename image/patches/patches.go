// Package patches makes an asset out of an older one: piece by piece, each packed by zstd with bytes of the old asset
// as its dictionary. It also holds the table that lists the pieces.
//
// Start with Maker, which a builder gives the old asset and then the pieces of the new one; Opener is the other side.
// How a Maker finds what of the old asset helps a piece is its own affair: the table says what it took.
//
// What an Opener returns is what the patch says, for the bytes that the old asset has now, and nothing more: whoever
// uses it compares it with a digest that does not come from the patch. docs/reference/image-format.md describes the
// format. The package is pure.
package patches

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// window holds the old bytes of a piece and the piece itself, as a power of two.
const window = 4 << 20

// Maker makes pieces.
type Maker struct {
	old   io.ReaderAt
	index *index
	plain *zstd.Encoder // for pieces that have nothing in common with the old asset
	by    *zstd.Encoder // with a dictionary
	dict  []byte
	table Table
}

// NewMaker reads all of the old asset, which must not change. The index of it takes a sixteenth of its size in memory.
func NewMaker(old io.ReaderAt, oldSize, size int64) (*Maker, error) {
	m := &Maker{old: old, table: Table{Size: size, Old: oldSize}}
	var err error
	if m.index, err = newIndex(io.NewSectionReader(old, 0, oldSize), oldSize); err != nil {
		return nil, err
	}
	for _, e := range []**zstd.Encoder{&m.plain, &m.by} {
		*e, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(window))
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Piece packs the next piece, which has Content bytes unless it is the last. What is returned is valid until the next
// call.
func (m *Maker) Piece(p, to []byte) ([]byte, error) {
	from := m.index.find(p, int64(len(m.table.Pieces))*Content)
	m.dict = m.dict[:0]
	for _, r := range from {
		n := len(m.dict)
		m.dict = append(m.dict, make([]byte, r.Size)...)
		if err := readFull(m.old, m.dict[n:], r.At); err != nil {
			return nil, err
		}
	}
	e := m.plain
	if len(m.dict) > 0 {
		e = m.by
		if err := e.ResetWithOptions(nil, zstd.WithEncoderDictRaw(0, m.dict)); err != nil {
			return nil, err
		}
	}
	to = e.EncodeAll(p, to[:0])
	m.table.Pieces = append(m.table.Pieces, Piece{Packed: uint32(len(to)), From: from})
	return to, nil
}

// Table lists the pieces so far.
func (m *Maker) Table() *Table { return &m.table }

// Opener unpacks pieces. The zero value works; Close frees its memory.
type Opener struct {
	decoder *zstd.Decoder
	dict    []byte
	content []byte
}

// Open unpacks a piece of a table, of size bytes, with what the old asset has. What is returned is valid until the next
// call. It needs as much memory as a piece and the old bytes for it may have.
func (o *Opener) Open(p Piece, packed []byte, old io.ReaderAt, size int) (content []byte, err error) {
	o.dict = o.dict[:0]
	for _, r := range p.From {
		n := len(o.dict)
		if o.dict == nil {
			o.dict = make([]byte, 0, MaxOld)
		}
		o.dict = o.dict[:n+int(r.Size)]
		if err := readFull(old, o.dict[n:], r.At); err != nil {
			return nil, fmt.Errorf("read %d bytes at %d: %w", r.Size, r.At, err)
		}
	}
	if o.decoder == nil {
		o.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(Content), zstd.WithDecoderMaxWindow(Content))
		if err != nil {
			return nil, err
		}
	}
	dict := zstd.WithDecoderDictDelete()
	if len(o.dict) > 0 {
		dict = zstd.WithDecoderDictRaw(0, o.dict)
	}
	if err := o.decoder.ResetWithOptions(nil, dict); err != nil {
		return nil, err
	}
	o.content, err = o.decoder.DecodeAll(packed, o.content[:0])
	if err != nil {
		return nil, err
	}
	if len(o.content) != size {
		return nil, fmt.Errorf("%d bytes came out, %d are wanted", len(o.content), size)
	}
	return o.content, nil
}

// Close frees what is held. The Opener may be used again.
func (o *Opener) Close() {
	if o.decoder != nil {
		o.decoder.Close()
	}
	*o = Opener{}
}

// readFull fills p.
func readFull(from io.ReaderAt, p []byte, at int64) error {
	n, err := from.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}
