package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/image/chunks"
)

// assemble streams an asset from chunks that are there and frames that are fetched. Where that fails in any way, the
// layer is downloaded instead, from the first byte that the caller lacks.
func (x *extraction) assemble(ctx context.Context, n int, a Asset, p *pieces) error {
	from := x.from(a)
	ctx, cancel := context.WithCancel(ctx)
	r := &assembler{pieces: p, from: x.options.Delta.from, need: p.fetch(from), skip: from}
	r.fetcher = newFetcher(ctx, x.image, n, r.need.parts)
	other, err := x.put(ctx, cancel, n, a, r, r.fetcher, r.need.bytes)
	if other {
		x.whole[n] = true
		x.state.Total = x.total()
		return errElsewhere
	}
	return err
}

// maker is an asset that is made of what is there and of what is fetched, from the first byte on that the caller lacks.
type maker interface {
	io.Reader
	close()
}

// put streams an asset that r makes. What comes out is held to the digests of the manifest like any other asset of
// which a part is fetched. other tells that it went wrong, and that the asset has to come in another way.
func (x *extraction) put(ctx context.Context, cancel func(), n int, a Asset, r maker, parts *fetcher, total int64) (
	other bool, err error) {
	in := &assembling{x: x, fetcher: parts, total: total, ahead: readAhead(r, unpackedBuffers, unpackedSize, nil)}
	defer func() {
		cancel()
		in.ahead.interrupt()
		in.ahead.wait()
		parts.wait()
		r.close()
	}()
	f, from := x.image.frames[n], x.from(a)
	k := f.index(from)
	if from != min(f.start(k), a.Size) {
		return false, fmt.Errorf("%s cannot be taken up at byte %d, frames have %d bytes", a.Name, from, f.Content)
	}
	x.found[a.Name], x.state.Asset = true, a.Name
	defer func() { x.state.Asset = "" }()
	content := &framed{from: in, frames: f, next: k, left: a.Size - from, hash: sha256.New()}
	err = x.give(a, &assetReader{from: content})
	var failed *writeError
	if err == nil {
		in.report(true)
		x.fetched, x.interrupted = x.state.Fetched, x.state.Interrupted
		x.unpacked += a.Size - from
		return false, nil
	}
	return !errors.As(err, &failed) && ctx.Err() == nil, err
}

// assembling reads what an assembler brings in a goroutine of its own, and tells how far the download is.
type assembling struct {
	x       *extraction
	ahead   *ahead
	fetcher *fetcher
	total   int64
}

func (r *assembling) Read(p []byte) (int, error) {
	r.report(false)
	return r.ahead.Read(p)
}

func (r *assembling) report(always bool) {
	s := &r.x.state
	s.OfLayer = r.fetcher.fetched.Load()
	s.LayerTotal = max(r.total, s.OfLayer)
	s.Fetched = r.x.fetched + s.OfLayer
	s.Interrupted = r.x.interrupted + int(r.fetcher.interrupted.Load())
	r.x.report(always)
}

// assembler is an asset's content, chunk by chunk, each compared with its sum.
type assembler struct {
	pieces  *pieces
	from    []Local
	need    need
	fetcher *fetcher

	chunk   int   // the next one
	at      int64 // where it begins
	skip    int64 // bytes of the asset that are not wanted
	frame   int   // the frame that at is in
	start   int64 // where that begins
	rest    []byte
	storage [chunks.Max]byte
	decoder *zstd.Decoder
	content []byte // of the frame that was unpacked last
	open    int    // its number, from 1
	changed int    // chunks so far that were not there any more
}

func (r *assembler) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.chunk == len(r.pieces.Chunks) {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next brings the next chunk that is wanted, or a part of it.
func (r *assembler) next() error {
	c := r.pieces.Chunks[r.chunk]
	place, p, at := r.pieces.found[r.chunk], r.storage[:c.Size], r.at
	for r.start+int64(r.pieces.Frames[r.frame].Content) <= at {
		r.start, r.frame = r.start+int64(r.pieces.Frames[r.frame].Content), r.frame+1
	}
	r.chunk, r.at = r.chunk+1, at+int64(c.Size)
	if r.at <= r.skip {
		return nil
	}
	// What is in front of skip was not asked for, and then the chunk cannot be compared as a whole.
	first := max(at, r.skip)
	fetched := true
	for k, s := r.frame, r.start; k < len(r.pieces.Frames) && s < r.at; k++ {
		s += int64(r.pieces.Frames[k].Content)
		fetched = fetched && (r.need.frames[k] || s <= r.skip)
	}
	var err error
	if fetched || place.from == 0 {
		err = r.unpack(p[first-at:], first, r.part)
	} else if first = at; !r.copy(p, place) {
		if r.changed++; r.changed > maxChanged {
			return fmt.Errorf("%d chunks are not any more where they were found", r.changed)
		}
		err = r.unpack(p, at, r.again)
	}
	if err != nil {
		return err
	}
	if first == at && chunks.SumOf(p) != c.Sum {
		return wrongBytes{fmt.Errorf("chunk %d is not what the table says: %w", r.chunk, ErrTampered)}
	}
	r.rest = p[max(first, r.skip)-at:]
	return nil
}

// maxChanged is how many chunks may have changed since they were looked at: each costs a request of its own.
const maxChanged = 64

// copy takes a chunk from what is there, unless that is not any more what it was.
func (r *assembler) copy(p []byte, from place) bool {
	n, err := r.from[from.from-1].ReadAt(p, from.at)
	return n == len(p) && (err == nil || errors.Is(err, io.EOF)) &&
		chunks.SumOf(p) == r.pieces.Chunks[r.chunk-1].Sum
}

// unpack fills p with the content from at on, from frames that get brings.
func (r *assembler) unpack(p []byte, at int64, get func(frame int) ([]byte, error)) error {
	for k, start := r.frame, r.start; len(p) > 0; k++ {
		end := start + int64(r.pieces.Frames[k].Content)
		if end > at {
			if err := r.unpackFrame(k, get); err != nil {
				return err
			}
			n := copy(p, r.content[at-start:])
			p, at = p[n:], at+int64(n)
		}
		start = end
	}
	return nil
}

// unpackFrame sees to it that content is that of a frame.
func (r *assembler) unpackFrame(k int, get func(frame int) ([]byte, error)) (err error) {
	if r.open == k+1 {
		return nil
	}
	packed, err := get(k)
	if err != nil {
		return err
	}
	if r.decoder == nil {
		r.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(chunks.MaxFrame), zstd.WithDecoderMaxWindow(chunks.MaxFrame))
		if err != nil {
			return err
		}
	}
	r.open = 0
	r.content, err = r.decoder.DecodeAll(packed, r.content[:0])
	if want := r.pieces.Frames[k].Content; err == nil && len(r.content) != int(want) {
		err = fmt.Errorf("%d bytes, its table says %d", len(r.content), want)
	}
	if err != nil {
		return wrongBytes{fmt.Errorf("unpack frame %d: %w: %w", k+1, err, ErrTampered)}
	}
	r.open = k + 1
	return nil
}

// part is a packed frame from the parts that were asked for in advance.
func (r *assembler) part(k int) ([]byte, error) { return r.fetcher.frame(k, r.pieces.Frames) }

// again is a packed frame that was not asked for in advance.
func (r *assembler) again(k int) ([]byte, error) {
	offset := r.pieces.head
	for _, f := range r.pieces.Frames[:k] {
		offset += int64(f.Packed)
	}
	return r.fetcher.one(stretch{offset: offset, size: int64(r.pieces.Frames[k].Packed)})
}

func (r *assembler) close() {
	if r.decoder != nil {
		r.decoder.Close()
	}
}
