package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/image/chunks"
	"github.com/pawl-os/pawl/image/format"
)

// Annotations of a layer that Add writes into its descriptor: see package [format].
const (
	AssetAnnotation  = format.AssetAnnotation
	FramesAnnotation = format.FramesAnnotation
	ChunksAnnotation = format.ChunksAnnotation
)

// frameContent is how much of an asset is packed by itself. Smaller pieces pack worse: see docs/explanation/pull.md.
const frameContent = 1 << 20

// What is cut into chunks is packed in frames of so many bytes or a little more: smaller ones pack worse, of larger
// ones more is fetched for nothing. What is smaller than chunksFrom is not cut.
const (
	chunkRun   = 64 << 10
	chunksFrom = 256 << 10
)

// compressor packs one frame after the other.
type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

type stored struct{ io.Writer }

func (s *stored) Close() error      { return nil }
func (s *stored) Reset(w io.Writer) { s.Writer = w }

func (c Compression) compressor() (compressor, error) {
	switch c {
	case Gzip:
		return gzip.NewWriterLevel(io.Discard, gzip.DefaultCompression)
	case None:
		return &stored{}, nil
	}
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(frameContent))
}

// framer packs an archive in frames: what comes before the content, the content piece by piece, the rest. What is cut
// into chunks has several frames a piece: each ends with a chunk, or with its piece.
type framer struct {
	to      *sized
	pack    compressor
	started int64 // where in the blob the open frame starts; -1 when none is open
	left    int64 // bytes of content to come; 0 outside of it
	piece   int64 // bytes of content in the open piece,
	begun   int64 // which begins here in the blob
	inFrame int64 // bytes of content in the open frame
	hash    hash.Hash
	frames  format.Frames
	cutter  *chunks.Cutter // nil when it is not cut
	table   chunks.Table
}

// sized counts what is written.
type sized struct {
	io.Writer
	n int64
}

func (s *sized) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	s.n += int64(n)
	return n, err
}

func newFramer(w io.Writer, c Compression) (*framer, error) {
	pack, err := c.compressor()
	return &framer{to: &sized{Writer: w}, pack: pack, started: -1, hash: sha256.New(),
		frames: format.Frames{Content: frameContent}}, err
}

// content says that the next bytes that are written are the asset's, and whether they are cut into chunks.
func (f *framer) content(size int64, cut bool) error {
	err := f.Close()
	f.left, f.frames.Head, f.begun = size, f.to.n, f.to.n
	if f.table.Size = size; cut {
		f.cutter = &chunks.Cutter{Use: f.chunk}
	}
	return err
}

func (f *framer) Write(p []byte) (int, error) {
	content := p[:min(int64(len(p)), f.left)]
	if len(content) > 0 {
		if err := f.asset(content); err != nil {
			return 0, err
		}
	}
	if rest := p[len(content):]; len(rest) > 0 {
		f.open()
		if _, err := f.pack.Write(rest); err != nil {
			return len(content), err
		}
	}
	return len(p), nil
}

// asset takes content.
func (f *framer) asset(p []byte) error {
	f.left -= int64(len(p))
	if f.cutter == nil {
		if err := f.put(p); err != nil {
			return err
		}
	} else {
		if _, err := f.cutter.Write(p); err != nil {
			return err
		}
		if f.left == 0 {
			if err := f.cutter.Close(); err != nil {
				return err
			}
		}
	}
	if f.left > 0 || f.piece == 0 {
		return nil
	}
	return f.endPiece()
}

// chunk lists a chunk and packs it.
func (f *framer) chunk(p []byte) error {
	f.table.Chunks = append(f.table.Chunks, chunks.Chunk{Size: uint32(len(p)), Sum: chunks.SumOf(p)})
	if err := f.put(p); err != nil {
		return err
	}
	if f.inFrame < chunkRun {
		return nil
	}
	return f.Close()
}

// put packs content, and ends each piece where it has to end.
func (f *framer) put(p []byte) error {
	for len(p) > 0 {
		f.open()
		n := min(int64(len(p)), frameContent-f.piece)
		f.hash.Write(p[:n])
		if _, err := f.pack.Write(p[:n]); err != nil {
			return err
		}
		p, f.piece, f.inFrame = p[n:], f.piece+n, f.inFrame+n
		if f.piece == frameContent {
			if err := f.endPiece(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *framer) endPiece() error {
	if err := f.Close(); err != nil {
		return err
	}
	f.frames.Packed = append(f.frames.Packed, f.to.n-f.begun)
	f.frames.SHA256 = append(f.frames.SHA256, hex.EncodeToString(f.hash.Sum(nil)))
	f.piece, f.begun = 0, f.to.n
	f.hash.Reset()
	return nil
}

func (f *framer) open() {
	if f.started < 0 {
		f.started = f.to.n
		f.pack.Reset(f.to)
	}
}

// Close ends the open frame. More may be written.
func (f *framer) Close() error {
	if f.started < 0 {
		return nil
	}
	from := f.started
	f.started = -1
	if err := f.pack.Close(); err != nil {
		return err
	}
	if f.inFrame > 0 {
		f.table.Frames = append(f.table.Frames,
			chunks.Frame{Content: uint32(f.inFrame), Packed: uint32(f.to.n - from)})
		f.inFrame = 0
	}
	return nil
}

// addTable writes the table behind the archive, which must be closed, and tells where it is; nil if there is none. The
// note says why a table that there should be is left out.
func (f *framer) addTable() (at *format.Chunks, note string, err error) {
	if f.cutter == nil {
		return nil, "", nil
	}
	if n := f.table.EncodedSize(); n > chunks.MaxTable {
		return nil, fmt.Sprintf("its table of chunks would have %d bytes, and a node reads at most %d: it is left out, "+
			"and upgrades download the asset whole (have several images, such as a root and a usr)", n, chunks.MaxTable), nil
	}
	at, err = addTable(f.to, f.table.Encode())
	return at, "", err
}

// addTable writes a table in a skippable frame, and tells where it is.
func addTable(to *sized, table []byte) (*format.Chunks, error) {
	if err := skippable(to, table); err != nil {
		return nil, err
	}
	return &format.Chunks{Offset: to.n - int64(len(table)), Size: int64(len(table)),
		SHA256: fmt.Sprintf("%x", sha256.Sum256(table))}, nil
}

// skippable writes a skippable frame.
func skippable(to io.Writer, p []byte) error {
	head := binary.LittleEndian.AppendUint32(nil, format.SkippableMagic)
	_, err := to.Write(binary.LittleEndian.AppendUint32(head, uint32(len(p))))
	if err == nil {
		_, err = to.Write(p)
	}
	return err
}
