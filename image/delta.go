package image

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/chunks"
	"github.com/pawl-os/pawl/image/format"
)

// Local is content that this machine has: a file, or a file system image. What is in it may change at any time.
type Local struct {
	io.ReaderAt
	Size int64
}

// Delta is what of an image's assets need not be downloaded, by patches and chunk by chunk: made by Image.Delta, used
// by Image.Pull.
type Delta struct {
	Whole     string // why assets are downloaded whole that could be taken apart; "" where none is
	Unpatched string // why a patch that fits what this machine has is not used; "" where each is

	from    []Local
	pieces  []*pieces // of each layer; nil where it is not taken apart
	patches []*patch  // of each layer; nil where there is none for what is there
}

// pieces is the asset of a layer as its table has it, and where each chunk is found.
type pieces struct {
	*chunks.Table
	head  int64   // of the first frame in the layer
	found []place // of each chunk
	order []int32 // the chunks by their sums, while they are looked for
}

// place is where a chunk is found.
type place struct {
	at   int64 // in the local content
	from int32 // which one, from 1; 0: it is not found
}

// ranger is a source that can be asked for a part of a blob.
type ranger interface {
	// part fills p with the blob's bytes from offset on, and tells how often it had to ask again. Nothing is verified
	// by it.
	part(ctx context.Context, d v1.Descriptor, p []byte, offset int64) (again int, err error)
}

// worth is the share of a layer that has to be spared: less is not worth the requests.
const worth = 16

// Delta finds out what of the wanted assets this machine has: whole old assets that the image has patches for, found by
// their digests; of the others chunks, by cutting what is there as the builder cut the image. It fetches tables, and
// reads all of from, once or twice. Whatever cannot be read is not there, and what cannot be fetched in parts is
// downloaded whole: only the end of ctx is an error.
func (i *Image) Delta(ctx context.Context, o PullOptions, from []Local) (*Delta, error) {
	d := &Delta{from: from, pieces: make([]*pieces, len(i.layers)), patches: make([]*patch, len(i.layers))}
	if _, ok := i.source.(ranger); !ok || len(from) == 0 {
		return d, nil
	}
	if err := d.findPatches(ctx, i, o); err != nil {
		return nil, err
	}
	err := d.findChunks(ctx, i, o, func(n int) bool { return d.patches[n] == nil })
	return d, err
}

// findChunks finds chunks of the assets of some layers.
func (d *Delta) findChunks(ctx context.Context, i *Image, o PullOptions, of func(layer int) bool) error {
	for n, c := range i.chunks {
		a, known := i.only(n)
		if !known || c == nil || !of(n) || !(&extraction{options: o}).wanted(a) {
			continue
		}
		t, err := i.table(ctx, n)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			d.Whole = fmt.Sprintf("the chunks of %s are not known: %v", a.Name, err)
			continue
		}
		d.pieces[n] = &pieces{Table: t, head: i.frames[n].Head, found: make([]place, len(t.Chunks))}
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	d.choose(i, o)
	return nil
}

// part fetches a table, and holds it to its digest.
func (i *Image) part(ctx context.Context, n int, c format.Chunks, annotation string) ([]byte, error) {
	raw := make([]byte, c.Size)
	if _, err := i.source.(ranger).part(ctx, i.layers[n], raw, c.Offset); err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(raw)); got != c.SHA256 {
		return nil, fmt.Errorf("its table has digest %s, annotation %s says %s: %w", got, annotation, c.SHA256,
			ErrTampered)
	}
	return raw, nil
}

// table fetches the table of a layer.
func (i *Image) table(ctx context.Context, n int) (*chunks.Table, error) {
	c, a := i.chunks[n], i.singles[n]
	raw, err := i.part(ctx, n, *c, format.ChunksAnnotation)
	if err != nil {
		return nil, err
	}
	t, err := chunks.Decode(raw)
	if err != nil {
		return nil, err
	}
	packed := i.frames[n].Head
	for _, f := range t.Frames {
		packed += int64(f.Packed)
	}
	if t.Size != a.Size || packed > c.Offset {
		return nil, fmt.Errorf("its table is of %d bytes, packed up to %d: %w", t.Size, packed, ErrTampered)
	}
	return t, nil
}

// takeChunks reads where the table of a layer is; nil if it has none.
func takeChunks(d v1.Descriptor, a Asset) (*format.Chunks, error) {
	text, ok := d.Annotations[format.ChunksAnnotation]
	if !ok {
		return nil, nil
	}
	var c format.Chunks
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("annotation %s: %w: %w", format.ChunksAnnotation, err, ErrUnreadable)
	}
	if c.Size <= 0 || c.Size > chunks.MaxTable || c.Offset < 0 || c.Offset > d.Size-c.Size {
		return nil, fmt.Errorf("annotation %s of %s: %d bytes at %d of %d: %w", format.ChunksAnnotation, a.Name, c.Size,
			c.Offset, d.Size, ErrTampered)
	}
	return &c, nil
}

// look cuts all that is there and notes where wanted chunks are. The first place counts.
func (d *Delta) look(ctx context.Context) error {
	left := 0
	for _, p := range d.pieces {
		if p != nil {
			p.sort()
			left += len(p.found)
		}
	}
	for n, l := range d.from {
		if left == 0 {
			break
		}
		from := &cancellable{ctx, io.NewSectionReader(l, 0, l.Size)}
		err := chunks.Split(from, func(at int64, chunk []byte) error {
			sum := chunks.SumOf(chunk)
			for _, p := range d.pieces {
				if p != nil {
					left -= p.note(sum, place{at: at, from: int32(n + 1)})
				}
			}
			return nil
		})
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	for _, p := range d.pieces {
		if p != nil {
			p.order = nil
		}
	}
	return nil
}

func (p *pieces) sort() {
	p.order = make([]int32, len(p.Chunks))
	for n := range p.order {
		p.order[n] = int32(n)
	}
	slices.SortFunc(p.order, func(a, b int32) int {
		return cmp.Or(bytes.Compare(p.Chunks[a].Sum[:], p.Chunks[b].Sum[:]), cmp.Compare(a, b))
	})
}

// note tells how many chunks were found just now.
func (p *pieces) note(sum chunks.Sum, at place) (new int) {
	k, _ := slices.BinarySearchFunc(p.order, sum, func(n int32, sum chunks.Sum) int {
		return bytes.Compare(p.Chunks[n].Sum[:], sum[:])
	})
	for ; k < len(p.order) && p.Chunks[p.order[k]].Sum == sum; k++ {
		if f := &p.found[p.order[k]]; f.from == 0 {
			*f, new = at, new+1
		}
	}
	return new
}

// choose leaves out the layers of which too little is found.
func (d *Delta) choose(i *Image, o PullOptions) {
	for n, p := range d.pieces {
		if p == nil {
			continue
		}
		a, _ := i.only(n)
		from := (&extraction{options: o}).from(a)
		_, whole := i.frames[n].rest(i.frames[n].index(from))
		if spared := whole - p.fetch(from).bytes; spared < whole/worth {
			d.pieces[n] = nil
		}
	}
}

// Taken is what [Image.Delta] found for one asset.
type Taken struct {
	Bytes    int64 // of the asset that are taken from what is there; with a patch, that are not downloaded
	Requests int   // for the rest
	Patch    int64 // bytes of the patch that makes it out of an old one; 0 where it is put together from chunks
}

// Taken tells what is taken of an asset; ok is false of one that is downloaded whole.
func (i *Image) Taken(a Asset, o PullOptions) (t Taken, ok bool) {
	for n, f := range i.frames {
		if only, known := i.only(n); !known || f == nil || only.Name != a.Name {
			continue
		}
		from := (&extraction{options: o}).from(a)
		if patch := o.patch(n); patch != nil {
			w := patch.fetch(from)
			return Taken{Bytes: max(0, a.Size-from-w.bytes), Requests: len(w.parts), Patch: w.bytes}, true
		}
		p := o.pieces(n)
		if p == nil {
			return t, false
		}
		w := p.fetch(from)
		return Taken{Bytes: w.spared, Requests: len(w.parts)}, true
	}
	return t, false
}

func (o PullOptions) pieces(n int) *pieces {
	if o.Delta == nil || n >= len(o.Delta.pieces) {
		return nil
	}
	return o.Delta.pieces[n]
}
