package patches

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTable is returned for bytes that are no table, or one that contradicts itself. Do: leave the patch, and have the
// image built again.
var ErrTable = errors.New("no table of a patch")

// Table lists the pieces of an asset that a patch makes, and the bytes of the old asset that each is made of.
type Table struct {
	Size   int64 // bytes of the asset
	Old    int64 // bytes of the old one
	Pieces []Piece
}

// Piece is Content bytes of the asset, the last one what is left.
type Piece struct {
	Packed uint32  // bytes in the layer
	From   []Range // of the old asset, MaxOld in all
}

// Range is a run of the old asset.
type Range struct {
	At   int64
	Size uint32
}

// Limits: what is in memory for one piece, and what the table itself may be.
const (
	Content   = 1 << 20 // bytes of the asset in a piece
	MaxOld    = 3 << 20 // bytes of the old asset for a piece
	MaxPacked = Content + 64<<10
	MaxRanges = 256 // of a piece
	MaxTable  = 8 << 20
)

// The encoding, all numbers little-endian:
//
//	0   8   "PAWLPAT1"
//	8   8   bytes of the asset
//	16  8   bytes of the old asset
//	24  4   number of pieces, p
//	28  4   number of ranges, r
//	32  8p  of each piece: 4 bytes packed, 4 how many ranges it has
//	..  12r of each range: 8 bytes where it begins in the old asset, 4 its size
const (
	magic      = "PAWLPAT1"
	headBytes  = 32
	pieceBytes = 8
	rangeBytes = 12
)

// Encode is the table as it is in a layer.
func (t *Table) Encode() []byte {
	ranges := 0
	for _, p := range t.Pieces {
		ranges += len(p.From)
	}
	b := make([]byte, 0, headBytes+pieceBytes*len(t.Pieces)+rangeBytes*ranges)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Size))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Old))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Pieces)))
	b = binary.LittleEndian.AppendUint32(b, uint32(ranges))
	for _, p := range t.Pieces {
		b = binary.LittleEndian.AppendUint32(b, p.Packed)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p.From)))
	}
	for _, p := range t.Pieces {
		for _, r := range p.From {
			b = binary.LittleEndian.AppendUint64(b, uint64(r.At))
			b = binary.LittleEndian.AppendUint32(b, r.Size)
		}
	}
	return b
}

// Decode reads a table. What it returns is consistent in itself and within the limits.
func Decode(b []byte) (*Table, error) {
	wrong := func(what string, args ...any) (*Table, error) {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), ErrTable)
	}
	if len(b) < headBytes || len(b) > MaxTable || string(b[:8]) != magic {
		return wrong("%d bytes that do not begin as one", len(b))
	}
	t := &Table{Size: int64(binary.LittleEndian.Uint64(b[8:])), Old: int64(binary.LittleEndian.Uint64(b[16:]))}
	pieces, ranges := int64(binary.LittleEndian.Uint32(b[24:])), int64(binary.LittleEndian.Uint32(b[28:]))
	if want := headBytes + pieceBytes*pieces + rangeBytes*ranges; int64(len(b)) != want {
		return wrong("%d bytes, %d pieces and %d ranges have %d", len(b), pieces, ranges, want)
	}
	if t.Size <= 0 || t.Old <= 0 || (t.Size-1)/Content+1 != pieces {
		return wrong("%d pieces of %d bytes, from %d", pieces, t.Size, t.Old)
	}
	b = b[headBytes:]
	rest := b[pieceBytes*pieces:]
	t.Pieces = make([]Piece, pieces)
	for k := range t.Pieces {
		packed, n := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
		if packed == 0 || packed > MaxPacked || n > MaxRanges || n*rangeBytes > len(rest) {
			return wrong("piece %d of %d bytes and %d ranges", k+1, packed, n)
		}
		t.Pieces[k] = Piece{Packed: packed, From: make([]Range, n)}
		total := int64(0)
		for j := range t.Pieces[k].From {
			r := Range{int64(binary.LittleEndian.Uint64(rest)), binary.LittleEndian.Uint32(rest[8:])}
			total += int64(r.Size)
			if r.Size == 0 || total > MaxOld || r.At < 0 || r.At > t.Old-int64(r.Size) {
				return wrong("range %d of piece %d: %d bytes at %d of %d", j+1, k+1, r.Size, r.At, t.Old)
			}
			t.Pieces[k].From[j], rest = r, rest[rangeBytes:]
		}
		b = b[pieceBytes:]
	}
	if len(rest) != 0 {
		return wrong("%d ranges of no piece", len(rest)/rangeBytes)
	}
	return t, nil
}

// Content is how many bytes of the asset piece k has.
func (t *Table) Content(k int) int { return int(min(Content, t.Size-int64(k)*Content)) }
