package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/image/format"
)

// PullOptions say what of an image is needed. The zero value is all of it, as Extract does it.
type PullOptions struct {
	// Want chooses the assets; nil is all. A layer that says that it holds one asset (image/pack writes that) is not
	// fetched when the asset is not wanted.
	Want func(Asset) bool

	// ReadBack chooses listed assets whose digest the caller checks himself, on what he wrote, before it counts. They
	// are not hashed a second time on the way: their bytes are those of a layer that was hashed as it came.
	ReadBack func(Asset) bool

	// From is how many bytes of an asset the caller has already and has verified, as Image.Held tells; nil is none. The
	// asset's reader starts there. Only images with a table of frames can do that, and there each frame is hashed by
	// itself, because the layer as a whole cannot be.
	From func(Asset) int64

	// Delta is what need not be fetched, since this machine has it: Image.Delta finds it. nil is nothing. Where what was
	// found changes, or the registry does not send what it should, the layer is downloaded after all, and write is
	// given the asset once more.
	Delta *Delta

	Progress func(Progress) // may be nil
}

// Pull is Extract with a choice: the callback gets each wanted asset once, or once more as Extract says.
func (i *Image) Pull(ctx context.Context, o PullOptions, write func(Asset, io.Reader) error) error {
	x := &extraction{
		image: i, write: write, progress: o.Progress, options: o,
		tree: newTree(format.Dir(i.Arch)), found: map[string]bool{}, given: map[string]int64{},
		whole: map[int]bool{}, instead: map[int]*pieces{},
	}
	x.state.Layers, x.state.Total = len(i.layers), x.total()
	if err := x.run(ctx); err != nil {
		return fmt.Errorf("extract %s: %w", i.Reference, err)
	}
	return nil
}

func (x *extraction) wanted(a Asset) bool { return x.options.Want == nil || x.options.Want(a) }

// from is where the asset starts; 0 unless the image has frames for it.
func (x *extraction) from(a Asset) int64 {
	if x.options.From == nil {
		return 0
	}
	return x.options.From(a)
}

// total is how many packed bytes are to be fetched at most.
func (x *extraction) total() int64 {
	total := x.image.Size
	for n := range x.image.layers {
		a, known := x.image.only(n)
		switch {
		case !known:
		case a.Name == "" || !x.wanted(a):
			total -= x.image.layers[n].Size
		case x.patch(n) != nil:
			total -= x.image.layers[n].Size - x.patch(n).fetch(x.from(a)).bytes
		case x.pieces(n) != nil:
			total -= x.image.layers[n].Size - x.pieces(n).fetch(x.from(a)).bytes
		case x.from(a) > 0:
			if f := x.image.frames[n]; f != nil {
				_, length := f.rest(f.index(x.from(a)))
				total -= x.image.layers[n].Size - length
			}
		}
	}
	return total
}

// pieces are what layer n is put together from; nil when it is downloaded.
func (x *extraction) pieces(n int) *pieces {
	if x.whole[n] {
		return nil
	}
	if p, unpatched := x.instead[n]; unpatched {
		return p
	}
	return x.options.pieces(n)
}

// patch is what layer n's asset is made by out of an old one; nil when there is none.
func (x *extraction) patch(n int) *patch {
	if _, unpatched := x.instead[n]; unpatched {
		return nil
	}
	return x.options.patch(n)
}

// only is the asset that layer n holds, none if its name is empty. It is known only if every layer says so.
func (i *Image) only(n int) (Asset, bool) {
	if i.singles == nil {
		return Asset{}, false
	}
	return i.singles[n], true
}

// PullSize is how many packed bytes Pull would fetch with these options, at most.
func (i *Image) PullSize(o PullOptions) int64 {
	return (&extraction{image: i, options: o}).total()
}

// special handles a layer that need not be read from its first byte to its last. done tells that it was one.
func (x *extraction) special(ctx context.Context, n int) (done bool, err error) {
	a, known := x.image.only(n)
	if !known {
		return false, nil
	}
	if a.Name == "" {
		return true, nil
	}
	if !x.wanted(a) {
		x.found[a.Name] = true
		return true, nil
	}
	if p := x.patch(n); p != nil {
		return true, x.applyPatch(ctx, n, a, p)
	}
	if p := x.pieces(n); p != nil {
		return true, x.assemble(ctx, n, a, p)
	}
	f, from := x.image.frames[n], x.from(a)
	if f == nil || from <= 0 {
		return false, nil
	}
	return true, x.resume(ctx, n, a, f, from)
}

// resume streams the frames of an asset from one in the middle on.
func (x *extraction) resume(ctx context.Context, n int, a Asset, f *frames, from int64) error {
	k := f.index(from)
	if from != min(f.start(k), a.Size) {
		return fmt.Errorf("%s cannot be taken up at byte %d, frames have %d bytes", a.Name, from, f.Content)
	}
	x.found[a.Name], x.state.Asset = true, a.Name
	defer func() { x.state.Asset = "" }()
	if k == len(f.Packed) {
		return x.give(a, &assetReader{from: eof{}})
	}
	offset, length := f.rest(k)
	l, err := x.image.openPart(ctx, n, offset, length, a.Size-from, f.stored(a.Size))
	if err != nil {
		return err
	}
	defer l.close()
	in := &reporting{x: x, layer: l}
	content := &framed{from: in, frames: f, next: k, left: a.Size - from, hash: sha256.New()}
	err = x.give(a, &assetReader{from: content})
	var failed *writeError
	switch {
	case errors.As(err, &failed):
		return err
	case errors.Is(err, ErrUnreadable): // the frames have digests: they are not what was packed
		err = wrongBytes{fmt.Errorf("%w: %w", err, ErrTampered)}
	}
	if elsewhere(l.body, err) {
		return errElsewhere
	}
	if err != nil {
		return named(err, l.body)
	}
	in.update(true)
	x.fetched, x.interrupted = x.state.Fetched, x.state.Interrupted
	x.unpacked += a.Size - from
	return nil
}

// give hands an asset over and reads what is left of it, so that it is verified to its end.
func (x *extraction) give(a Asset, r *assetReader) error {
	err := x.write(a, r)
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return r.err // ours, whatever write made of it
	}
	if err != nil {
		return &writeError{fmt.Errorf("%s: %w", a.Name, err)}
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// openPart starts to fetch length bytes of the n'th layer from offset on, which unpack to size bytes, unless they are
// stored as they are. Nothing is verified by it. The caller calls close.
func (i *Image) openPart(ctx context.Context, n int, offset, length, size int64, stored bool) (*layer, error) {
	ctx, cancel := context.WithCancel(ctx)
	b, err := i.source.blob(ctx, i.layers[n])
	if err == nil {
		err = skip(b, offset, offset+length)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	l := &layer{blob: i.layers[n], cancel: cancel, body: b, length: length}
	l.packed = readAhead(&meter{io.LimitReader(b, length), &l.fetched}, packedBuffers, packedSize, nil)
	l.unpack(&unpacked{hashed: true, unhashed: true, limit: size}, stored)
	return l, nil
}

// skip moves a blob that was not read yet to offset. A registry is asked for no more than what is from there to end.
func skip(b body, offset, end int64) error {
	if r, ok := b.(*resumer); ok {
		r.offset, r.from, r.end = offset, offset, end
		return nil
	}
	_, err := io.CopyN(io.Discard, b, offset)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("ended before byte %d: %w", offset, ErrTampered)
	}
	return err
}

// Held tells how much of an asset r holds: the bytes from the start on that are the asset's, each frame compared with
// its digest, or of an image without frames all or nothing. Errors of r end what is held. r is read to size at most.
func (i *Image) Held(ctx context.Context, a Asset, r io.Reader) int64 {
	h, buffer := sha256.New(), make([]byte, 256<<10)
	f := i.framesOf(a)
	if f == nil {
		n, err := io.CopyBuffer(h, &cancellable{ctx, io.LimitReader(r, a.Size)}, buffer)
		if err != nil || n != a.Size || a.SHA256 == "" || fmt.Sprintf("%x", h.Sum(nil)) != a.SHA256 {
			return 0
		}
		return n
	}
	held := int64(0)
	for k, want := range f.SHA256 {
		h.Reset()
		size := min(f.Content, a.Size-f.start(k))
		n, err := io.CopyBuffer(h, &cancellable{ctx, io.LimitReader(r, size)}, buffer)
		if err != nil || n != size || fmt.Sprintf("%x", h.Sum(nil)) != want {
			break
		}
		held += n
	}
	return held
}

// Resumable tells whether the download of an asset can be taken up in the middle.
func (i *Image) Resumable(a Asset) bool { return i.framesOf(a) != nil }

func (i *Image) framesOf(a Asset) *frames {
	for n, f := range i.frames {
		if only, known := i.only(n); f != nil && known && only.Name == a.Name {
			return f
		}
	}
	return nil
}
