package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/chunks"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/image/patches"
)

// patchLayer is a layer that holds a patch.
type patchLayer struct {
	format.Patch
	layer int
}

// patch makes the asset of a layer out of a local one.
type patch struct {
	*patches.Table
	layer int   // which holds it
	head  int64 // of the first piece in it
	from  Local // the old asset
}

// skippableHead is in front of each piece.
const skippableHead = 8

// takePatch reads what patch a layer holds; nil if none. One that cannot be there is refused.
func takePatch(d v1.Descriptor, n int) (*patchLayer, error) {
	text, ok := d.Annotations[format.PatchAnnotation]
	if !ok {
		return nil, nil
	}
	p := patchLayer{layer: n}
	if err := json.Unmarshal([]byte(text), &p.Patch); err != nil {
		return nil, fmt.Errorf("annotation %s: %w: %w", format.PatchAnnotation, err, ErrUnreadable)
	}
	t := p.Table
	if p.Size <= 0 || len(p.SHA256) != 64 || strings.Trim(p.SHA256, "0123456789abcdef") != "" || p.Head < 0 ||
		t.Size <= 0 || t.Size > patches.MaxTable || t.Offset < p.Head || t.Offset > d.Size-t.Size {
		return nil, fmt.Errorf("annotation %s: a patch of %d bytes with digest %q at %d, its table of %d at %d of %d: %w",
			format.PatchAnnotation, p.Size, some([]string{p.SHA256}), p.Head, t.Size, t.Offset, d.Size, ErrTampered)
	}
	return &p, nil
}

// findPatches finds the patches whose old asset is here: what has its digest now, whatever anybody says of it.
func (d *Delta) findPatches(ctx context.Context, i *Image, o PullOptions) error {
	sums := make([]string, len(d.from))
	for _, p := range i.patches {
		n, ok := i.patched(p, o)
		if !ok || d.patches[n] != nil {
			continue
		}
		for k, l := range d.from {
			if l.Size != p.Size || d.patches[n] != nil {
				continue
			}
			if sums[k] == "" {
				h := sha256.New()
				_, _ = io.Copy(h, &cancellable{ctx, io.NewSectionReader(l, 0, l.Size)}) // or it is another sum
				sums[k] = fmt.Sprintf("%x", h.Sum(nil))
			}
			if sums[k] != p.SHA256 {
				continue
			}
			found, err := i.patch(ctx, p, n)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				d.Unpatched = fmt.Sprintf("the patch of %s is not known: %v", p.Asset, err)
				continue
			}
			found.from = l
			from := (&extraction{options: o}).from(i.singles[n])
			if _, whole := i.frames[n].rest(i.frames[n].index(from)); found.fetch(from).bytes <= whole-whole/worth {
				d.patches[n] = found
			}
		}
	}
	return nil
}

// patched is the layer that holds the asset which a patch makes; ok is false of one that is not wanted, or is packed
// otherwise.
func (i *Image) patched(p patchLayer, o PullOptions) (layer int, ok bool) {
	for n, f := range i.frames {
		if a := i.singles[n]; f != nil && a.Name == p.Asset {
			return n, f.Content == patches.Content && (&extraction{options: o}).wanted(a)
		}
	}
	return 0, false
}

// patch fetches the table of a patch for the asset of layer n.
func (i *Image) patch(ctx context.Context, p patchLayer, n int) (*patch, error) {
	raw, err := i.part(ctx, p.layer, p.Table, format.PatchAnnotation)
	if err != nil {
		return nil, err
	}
	t, err := patches.Decode(raw)
	if err != nil {
		return nil, err
	}
	end := p.Head
	for _, q := range t.Pieces {
		end += skippableHead + int64(q.Packed)
	}
	if t.Size != i.singles[n].Size || t.Old != p.Size || end > p.Table.Offset {
		return nil, fmt.Errorf("its table makes %d bytes of %d, packed up to %d: %w", t.Size, t.Old, end, ErrTampered)
	}
	return &patch{Table: t, layer: p.layer, head: p.Head}, nil
}

// frames are its pieces as they lie in the layer.
func (p *patch) frames() []chunks.Frame {
	all := make([]chunks.Frame, len(p.Pieces))
	for k, q := range p.Pieces {
		all[k] = chunks.Frame{Content: uint32(p.Content(k)), Packed: skippableHead + q.Packed}
	}
	return all
}

// fetch is what is fetched for the asset from byte from on.
func (p *patch) fetch(from int64) need {
	w := need{frames: make([]bool, len(p.Pieces))}
	for k := range w.frames {
		w.frames[k] = int64(k)*patches.Content >= from
	}
	w.join(&pieces{Table: &chunks.Table{Frames: p.frames()}, head: p.head}, from)
	return w
}

func (o PullOptions) patch(n int) *patch {
	if o.Delta == nil || n >= len(o.Delta.patches) {
		return nil
	}
	return o.Delta.patches[n]
}

// applyPatch streams an asset that a patch makes. Where that fails in any way, it is put together from chunks, if there
// are any, or else downloaded.
func (x *extraction) applyPatch(ctx context.Context, n int, a Asset, p *patch) error {
	ctx2, cancel := context.WithCancel(ctx)
	need := p.fetch(x.from(a))
	r := &patcher{patch: p, list: p.frames(), sums: x.image.frames[n].SHA256, next: x.image.frames[n].index(x.from(a))}
	r.fetcher = newFetcher(ctx2, x.image, p.layer, need.parts)
	other, err := x.put(ctx2, cancel, n, a, r, r.fetcher, need.bytes)
	if !other {
		return err
	}
	d := &Delta{from: x.options.Delta.from, pieces: make([]*pieces, len(x.image.layers))}
	if err := d.findChunks(ctx, x.image, x.options, func(layer int) bool { return layer == n }); err != nil {
		return err
	}
	x.instead[n] = d.pieces[n]
	x.state.Total = x.total()
	return errElsewhere
}

// patcher is an asset's content, piece by piece, each compared with its digest before any of it is given away.
type patcher struct {
	patch   *patch
	fetcher *fetcher
	list    []chunks.Frame
	sums    []string
	next    int // piece
	opener  patches.Opener
	rest    []byte
}

func (r *patcher) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.next == len(r.list) {
			return 0, io.EOF
		}
		if err := r.open(r.next); err != nil {
			return 0, err
		}
		r.next++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *patcher) open(k int) error {
	packed, err := r.fetcher.frame(k, r.list)
	if err != nil {
		return err
	}
	content, err := r.opener.Open(r.patch.Pieces[k], packed[skippableHead:], r.patch.from, r.patch.Content(k))
	if err != nil {
		return wrongBytes{fmt.Errorf("piece %d of the patch: %w: %w", k+1, err, ErrTampered)}
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != r.sums[k] {
		return wrongBytes{fmt.Errorf("piece %d of the patch makes digest %s, annotation %s says %s: %w", k+1, got,
			format.FramesAnnotation, r.sums[k], ErrTampered)}
	}
	r.rest = content
	return nil
}

func (r *patcher) close() { r.opener.Close() }
