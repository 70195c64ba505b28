package image

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pawl-os/pawl/image/chunks"
)

// partsAhead is how many parts are asked for at a time.
const partsAhead = 4

// fetcher fetches parts of a layer in order, several at a time. Memory is bounded by their number and size.
type fetcher struct {
	ctx    context.Context
	image  *Image
	layer  int
	parts  chan *fetching
	now    *fetching
	offset int64 // in now, of frame
	next   int   // the frame at offset

	running     sync.WaitGroup
	fetched     atomic.Int64
	interrupted atomic.Int64
}

// fetching is a part on its way. data and err may be read after done.
type fetching struct {
	stretch
	data []byte
	err  error
	done chan struct{}
}

func newFetcher(ctx context.Context, i *Image, layer int, parts []stretch) *fetcher {
	f := &fetcher{ctx: ctx, image: i, layer: layer, parts: make(chan *fetching, partsAhead-1)}
	f.running.Go(func() {
		defer close(f.parts)
		for _, p := range parts {
			next := &fetching{stretch: p, done: make(chan struct{})}
			select {
			case f.parts <- next:
			case <-ctx.Done():
				return
			}
			f.running.Go(func() {
				defer close(next.done)
				next.data, next.err = f.one(p)
			})
		}
	})
	return f
}

// one fetches a part now.
func (f *fetcher) one(p stretch) ([]byte, error) {
	data := make([]byte, p.size)
	again, err := f.image.source.(ranger).part(f.ctx, f.image.layers[f.layer], data, p.offset)
	f.interrupted.Add(int64(again))
	if err == nil {
		f.fetched.Add(p.size)
	}
	return data, err
}

// frame is the packed frame k. Frames are asked for in order, each once; those in between are passed over.
func (f *fetcher) frame(k int, frames []chunks.Frame) ([]byte, error) {
	for f.now == nil || k >= f.now.end {
		var ok bool
		select {
		case f.now, ok = <-f.parts:
		case <-f.ctx.Done():
		}
		if !ok {
			return nil, errors.Join(context.Cause(f.ctx), fmt.Errorf("frame %d was not asked for", k+1))
		}
		f.next, f.offset = f.now.first, 0
	}
	<-f.now.done
	if f.now.err != nil {
		return nil, f.now.err
	}
	for ; f.next < k; f.next++ {
		f.offset += int64(frames[f.next].Packed)
	}
	if f.next != k {
		return nil, fmt.Errorf("frame %d was passed over", k+1)
	}
	return f.now.data[f.offset:][:frames[k].Packed], nil
}

// wait returns when nothing is fetched any more. The context must be done before.
func (f *fetcher) wait() { f.running.Wait() }
