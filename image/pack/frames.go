package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/image/format"
)

// Annotations of a layer that Add writes into its descriptor: see package [format].
const (
	AssetAnnotation  = format.AssetAnnotation
	FramesAnnotation = format.FramesAnnotation
)

// frameContent is how much of an asset is packed by itself. Smaller pieces pack worse: see docs/explanation/pull.md.
const frameContent = 1 << 20

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

// framer packs an archive in frames: what comes before the content, the content piece by piece, the rest.
type framer struct {
	to      *sized
	pack    compressor
	started int64 // where in the blob the open frame starts; -1 when none is open
	left    int64 // bytes of content to come; 0 outside of it
	piece   int64 // bytes of content in the open frame
	hash    hash.Hash
	frames  format.Frames
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

// content says that the next bytes that are written are the asset's.
func (f *framer) content(size int64) error {
	err := f.Close()
	f.left, f.frames.Head = size, f.to.n
	return err
}

func (f *framer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if f.started < 0 {
			f.started = f.to.n
			f.pack.Reset(f.to)
		}
		n := int64(len(p))
		if f.left > 0 {
			n = min(n, f.left, frameContent-f.piece)
			f.hash.Write(p[:n])
		}
		if _, err := f.pack.Write(p[:n]); err != nil {
			return total - len(p), err
		}
		p = p[n:]
		if f.left == 0 {
			continue
		}
		f.left, f.piece = f.left-n, f.piece+n
		if f.left == 0 || f.piece == frameContent {
			if err := f.endPiece(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

func (f *framer) endPiece() error {
	from := f.started
	if err := f.Close(); err != nil {
		return err
	}
	f.frames.Packed = append(f.frames.Packed, f.to.n-from)
	f.frames.SHA256 = append(f.frames.SHA256, hex.EncodeToString(f.hash.Sum(nil)))
	f.piece = 0
	f.hash.Reset()
	return nil
}

// Close ends the open frame. More may be written.
func (f *framer) Close() error {
	if f.started < 0 {
		return nil
	}
	f.started = -1
	return f.pack.Close()
}
