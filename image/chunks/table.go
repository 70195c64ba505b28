package chunks

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTable is returned for bytes that are no table, or one that contradicts itself or its layer. Do: take the layer
// whole, and have the image built again.
var ErrTable = errors.New("no table of chunks")

// Table lists the pieces of an asset in a layer: the frames that it is packed in, and the chunks that it is cut into.
// Both follow one another without a gap, and each adds up to the asset. A chunk may begin in one frame and end in
// another.
type Table struct {
	Size   int64 // bytes of the asset
	Frames []Frame
	Chunks []Chunk
}

// Frame is a run of the asset that is packed by itself.
type Frame struct {
	Content uint32 // bytes of the asset
	Packed  uint32 // bytes in the layer
}

// Chunk is a run of the asset that ends where its content says.
type Chunk struct {
	Size uint32
	Sum  Sum
}

// Limits of a table: what one frame may be, since it is in memory as a whole, and what the table itself may be.
const (
	MaxFrame = 1 << 20
	MaxTable = 8 << 20
)

// The encoding, all numbers little-endian:
//
//	0   8   "PAWLCHK1"
//	8   8   bytes of the asset
//	16  4   number of frames, f
//	20  4   number of chunks, c
//	24  8f  of each frame: 4 bytes of content, 4 packed
//	..  20c of each chunk: 4 its size, 16 its sum
const (
	magic      = "PAWLCHK1"
	headBytes  = 24
	frameBytes = 8
	chunkBytes = 20
)

// EncodedSize is how many bytes Encode makes.
func (t *Table) EncodedSize() int {
	return headBytes + frameBytes*len(t.Frames) + chunkBytes*len(t.Chunks)
}

// Encode is the table as it is in a layer.
func (t *Table) Encode() []byte {
	b := make([]byte, 0, t.EncodedSize())
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Size))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Frames)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Chunks)))
	for _, f := range t.Frames {
		b = binary.LittleEndian.AppendUint32(b, f.Content)
		b = binary.LittleEndian.AppendUint32(b, f.Packed)
	}
	for _, c := range t.Chunks {
		b = binary.LittleEndian.AppendUint32(b, c.Size)
		b = append(b, c.Sum[:]...)
	}
	return b
}

// Decode reads a table. What it returns is consistent in itself: all that is left to compare is the layer.
func Decode(b []byte) (*Table, error) {
	wrong := func(what string, args ...any) (*Table, error) {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), ErrTable)
	}
	if len(b) < headBytes || len(b) > MaxTable || string(b[:8]) != magic {
		return wrong("%d bytes that do not begin as one", len(b))
	}
	t := &Table{Size: int64(binary.LittleEndian.Uint64(b[8:]))}
	frames, chunks := int64(binary.LittleEndian.Uint32(b[16:])), int64(binary.LittleEndian.Uint32(b[20:]))
	if want := headBytes + frameBytes*frames + chunkBytes*chunks; int64(len(b)) != want {
		return wrong("%d bytes, %d frames and %d chunks have %d", len(b), frames, chunks, want)
	}
	b = b[headBytes:]
	t.Frames, t.Chunks = make([]Frame, frames), make([]Chunk, chunks)
	var content, sizes int64
	for k := range t.Frames {
		f := Frame{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
		if f.Content == 0 || f.Content > MaxFrame || f.Packed == 0 || f.Packed > 2*MaxFrame {
			return wrong("frame %d of %d bytes, packed %d", k+1, f.Content, f.Packed)
		}
		t.Frames[k], content, b = f, content+int64(f.Content), b[frameBytes:]
	}
	for k := range t.Chunks {
		c := Chunk{binary.LittleEndian.Uint32(b), Sum(b[4:20])}
		if c.Size == 0 || c.Size > Max || c.Size < Min && k < len(t.Chunks)-1 {
			return wrong("chunk %d of %d bytes", k+1, c.Size)
		}
		t.Chunks[k], sizes, b = c, sizes+int64(c.Size), b[chunkBytes:]
	}
	if t.Size <= 0 || content != t.Size || sizes != t.Size {
		return wrong("frames of %d bytes and chunks of %d, the asset has %d", content, sizes, t.Size)
	}
	return t, nil
}
