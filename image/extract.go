package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/pawl-os/pawl/image/format"
)

// Progress is how far Extract has come.
type Progress struct {
	Asset       string // the asset that is streamed now; "" between two
	Layer       int    // the layer that is read, from 1, in the order of reading
	Layers      int    // how many there are
	Fetched     int64  // compressed bytes so far, of all layers
	Total       int64  // compressed bytes of all layers; at the end it is what was needed
	OfLayer     int64  // compressed bytes so far of the layer that is read
	LayerTotal  int64  // compressed bytes that are read of it
	Interrupted int    // how often a connection had to be made again
}

// reportEvery is how often progress is called, at most.
const reportEvery = 100 * time.Millisecond

// Extract streams each asset of the image to write, once: layers from top to bottom, whiteouts applied. Layers below
// the last listed asset are not read. The reader is valid until write returns; what write leaves unread is skipped.
//
// Where a mirror turns out to have sent wrong bytes, the next host is asked, and what came of that layer is streamed
// again: an asset that write is given once more replaces what it was given before. Without mirrors that does not
// happen.
//
// Only when Extract returns nil does what was written count: each layer used has then been hashed to its last byte,
// packed and unpacked, and each listed asset has its listed size and digest. An error of write ends it and is wrapped.
// progress may be nil; both functions are called from this goroutine.
func (i *Image) Extract(ctx context.Context, write func(Asset, io.Reader) error, progress func(Progress)) error {
	return i.Pull(ctx, PullOptions{Progress: progress}, write)
}

// extraction is one run of Extract.
type extraction struct {
	image    *Image
	write    func(Asset, io.Reader) error
	progress func(Progress)
	options  PullOptions
	tree     *tree
	found    map[string]bool  // assets streamed so far
	whole    map[int]bool     // layers that are downloaded although there was another way
	instead  map[int]*pieces  // what layers are put together from whose patch was wrong; nil where nothing is there
	given    map[string]int64 // those of them that are in the layer that is read, and their sizes

	state       Progress
	reported    time.Time
	fetched     int64 // by the layers that are done
	interrupted int
	unpacked    int64
	streamed    int64 // bytes of the assets so far
}

func (x *extraction) run(ctx context.Context) error {
	layers := x.image.layers
	for n := len(layers) - 1; n >= 0 && !x.complete(); n-- {
		x.state.Layer++
		err := x.layer(ctx, n)
		for errors.Is(err, errElsewhere) {
			x.forget()
			err = x.layer(ctx, n)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("layer %d of %d (%s): %w", n+1, len(layers), layers[n].Digest, err)
		}
		x.tree.seal()
		clear(x.given)
	}
	if err := x.missing(); err != nil {
		return err
	}
	x.state.Total = x.state.Fetched
	x.report(true)
	return ctx.Err()
}

// errElsewhere is of wrong bytes of a layer that another host can be asked for.
var errElsewhere = errors.New("another host is asked")

// forget undoes what was taken of a layer that turned out to be wrong.
func (x *extraction) forget() {
	x.tree.current = newState()
	for name, size := range x.given {
		delete(x.found, name)
		x.streamed -= size
	}
	clear(x.given)
}

// complete tells that every listed asset was streamed: nothing below can change them.
func (x *extraction) complete() bool {
	return x.image.Assets != nil && len(x.found) == len(x.image.Assets)
}

// missing says what should have been there.
func (x *extraction) missing() error {
	for _, a := range x.image.Assets {
		if !x.found[a.Name] {
			return fmt.Errorf("%s is listed in annotation %s and in no layer: %w", a.Name, format.AssetsAnnotation,
				ErrTampered)
		}
	}
	if len(x.found) == 0 {
		return fmt.Errorf("no file under /%s in any of %d layers; is it an installer image?: %w", x.tree.base,
			len(x.image.layers), ErrNoAssets)
	}
	return nil
}

// layer streams the assets of one layer, then verifies it to its end.
func (x *extraction) layer(ctx context.Context, n int) error {
	if done, err := x.special(ctx, n); done || err != nil {
		return err
	}
	l, err := x.image.openLayer(ctx, n, x.image.options.maxBytes()-x.unpacked, x.options.ReadBack != nil &&
		x.image.Assets != nil)
	if err != nil {
		return err
	}
	defer l.close()
	in := &reporting{x: x, layer: l}
	err = x.walk(tar.NewReader(in))
	var failed *writeError
	if errors.As(err, &failed) {
		return err
	}
	if err := l.finish(err); err != nil {
		if elsewhere(l.body, err) {
			return errElsewhere
		}
		return named(err, l.body)
	}
	in.update(true)
	x.fetched, x.interrupted = x.state.Fetched, x.state.Interrupted
	x.unpacked += l.unpacked.read
	return nil
}

// walk goes through one layer's archive.
func (x *extraction) walk(archive *tar.Reader) error {
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable(err)
		}
		name, wanted, err := x.tree.enter(h)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		if err := x.asset(name, h.Size, archive); err != nil {
			return err
		}
	}
}

// unreadable names an error of the archive as such; one of what it is read from stays what it is.
func unreadable(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
		return fmt.Errorf("read the archive: %w: %w", err, ErrUnreadable)
	}
	return err
}

// asset streams one asset.
func (x *extraction) asset(name string, size int64, content io.Reader) error {
	a := Asset{Name: name, Size: size}
	if limit := x.image.options.maxBytes(); size < 0 ||
		size > limit-x.streamed { // holes in a file cost its layer nothing
		return fmt.Errorf("%s has %d bytes: all assets may have %d: %w", name, size, limit, ErrUnsafe)
	}
	x.streamed += size
	x.given[name] = size
	if x.image.Assets != nil {
		listed, err := x.listed(name)
		if err != nil {
			return err
		}
		if a = listed; a.Size != size {
			return fmt.Errorf("%s has %d bytes, annotation %s says %d: %w", name, size, format.AssetsAnnotation, a.Size,
				ErrTampered)
		}
	}
	x.found[name] = true
	if !x.wanted(a) {
		return nil
	}
	x.state.Asset = name
	defer func() { x.state.Asset = "" }()
	if x.options.ReadBack != nil && a.SHA256 != "" && x.options.ReadBack(a) {
		return unreadable(x.give(a, &assetReader{from: content}))
	}
	r := &assetReader{from: content}
	if a.SHA256 != "" {
		r.hash = sha256.New()
	}
	if err := x.give(a, r); err != nil || r.hash == nil {
		return unreadable(err)
	}
	if got := fmt.Sprintf("%x", r.hash.Sum(nil)); got != a.SHA256 {
		return fmt.Errorf("%s has digest %s, annotation %s says %s: %w", name, got, format.AssetsAnnotation, a.SHA256,
			ErrTampered)
	}
	return nil
}

func (x *extraction) listed(name string) (Asset, error) {
	for _, a := range x.image.Assets {
		if a.Name == name {
			return a, nil
		}
	}
	return Asset{}, fmt.Errorf("%s is not listed in annotation %s: %w", name, format.AssetsAnnotation, ErrTampered)
}

// writeError is an error of the caller's write: there is no need to look at the layer further.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// assetReader is the content of one asset. It remembers its error, as write may hide it.
type assetReader struct {
	from io.Reader
	hash hash.Hash // nil when it is not hashed here
	err  error
}

func (r *assetReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if r.hash != nil {
		r.hash.Write(p[:n])
	}
	if err != nil {
		r.err = err
	}
	return n, err
}

// reporting reads the archive of a layer and calls progress now and then.
type reporting struct {
	x     *extraction
	layer *layer
}

func (r *reporting) Read(p []byte) (int, error) {
	r.update(false)
	return r.layer.out.Read(p)
}

func (r *reporting) update(always bool) {
	if !always && (r.x.progress == nil || time.Since(r.x.reported) < reportEvery) {
		return
	}
	r.x.state.OfLayer, r.x.state.LayerTotal = r.layer.fetched.Load(), r.layer.length
	r.x.state.Fetched = r.x.fetched + r.x.state.OfLayer
	r.x.state.Interrupted = r.x.interrupted + r.layer.body.Interrupted()
	r.x.report(always)
}

func (x *extraction) report(always bool) {
	if x.progress == nil || (!always && time.Since(x.reported) < reportEvery) {
		return
	}
	x.reported = time.Now()
	x.progress(x.state)
}

// describe names the type of an archive's entry, for people.
func describe(typeflag byte) string {
	switch typeflag {
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeSymlink:
		return "a symbolic link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a pipe"
	}
	return strings.TrimSpace(fmt.Sprintf("of type %q", typeflag))
}
