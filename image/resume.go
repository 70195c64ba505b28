package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// errNoRange means that the registry cannot, or not rightly, answer for a part of a blob.
var errNoRange = errors.New("the registry does not answer for a part of a blob")

// gain is how many bytes make a connection worth having been made.
const gain = 64 << 10

// resumer reads a blob to its last byte, over as many connections as it takes. After a drop it asks for the rest; from
// a registry that sends everything again it skips what it had.
type resumer struct {
	ctx      context.Context
	registry *registry
	blob     v1.Descriptor
	hosts    []*endpoint // to ask
	lies     []error     // of those that are not asked any more
	end      int64       // read up to here: the blob's size, or less

	at          int // the endpoint in use
	response    *http.Response
	cancel      func()
	offset      int64
	failures    int   // in a row without a gain
	from        int64 // offset at the last failure
	interrupted atomic.Int64
	noRange     bool
	misses      []error // the latest of each endpoint

	mu   sync.Mutex
	sent []*endpoint // that answered with bytes, in order
}

func newResumer(ctx context.Context, r *registry, d v1.Descriptor) *resumer {
	hosts, lies := r.trusted()
	return &resumer{ctx: ctx, registry: r, blob: d, hosts: hosts, lies: lies, end: d.Size,
		misses: make([]error, len(hosts))}
}

// senders are the hosts that bytes came from, in order.
func (r *resumer) senders() []*endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent)
}

// Interrupted is how often the connection had to be made again. It may be called while another goroutine reads.
func (r *resumer) Interrupted() int { return int(r.interrupted.Load()) }

// Read reads up to the end, which is the size that the manifest gives unless less was asked for. What comes behind it
// is not asked for.
func (r *resumer) Read(p []byte) (int, error) {
	for {
		if r.offset >= r.end {
			return 0, io.EOF
		}
		n, err := r.readOnce(p[:min(int64(len(p)), r.end-r.offset)])
		r.offset += int64(n)
		if err == nil {
			return n, nil
		}
		r.Close()
		if r.offset >= r.end {
			return n, nil
		}
		if err := r.failed(err); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// readOnce reads from the connection, which it makes if there is none.
func (r *resumer) readOnce(p []byte) (int, error) {
	if r.response == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	n, err := r.response.Body.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, again(fmt.Errorf("%w: %w", ErrUnreachable, err))
}

// failed counts a failure and moves on to the next endpoint; when all had their turn, it waits. It returns an error
// when it is time to give up: after so many turns of all.
func (r *resumer) failed(err error) error {
	if r.offset-r.from >= gain {
		r.failures = 0
	}
	r.from = r.offset
	r.failures++
	r.interrupted.Add(1)
	e := r.hosts[r.at]
	err = fmt.Errorf("%s: after %d of %d bytes: %w", e.repository.RegistryStr(), r.offset, r.blob.Size, err)
	r.misses[r.at] = err
	if errors.Is(err, errNoRange) {
		r.noRange = true
	} else {
		r.at = (r.at + 1) % len(r.hosts)
	}
	hosts := len(r.hosts)
	if r.failures%hosts != 0 {
		return context.Cause(r.ctx) // nil unless it is over
	}
	return r.registry.retry.wait(r.ctx, r.turn(), r.failures/hosts)
}

// turn is one error of what each endpoint answered last. It may pass if one of them may.
func (r *resumer) turn() error {
	misses := slices.Clone(r.lies)
	passes, after := false, time.Duration(0)
	for _, err := range r.misses {
		if err == nil {
			continue
		}
		misses = append(misses, err)
		if t := (temporary{}); errors.As(err, &t) {
			passes, after = true, max(after, t.after)
		}
	}
	err := joinMisses(misses)
	if passes {
		err = temporary{err, after}
	}
	return err
}

// named adds to the error of wrong bytes which hosts sent them, if there are mirrors: one of them has to be mended, or
// left out.
func named(err error, b body) error {
	r, ok := b.(*resumer)
	if !ok || !errors.As(err, new(wrongBytes)) || len(r.registry.endpoints) < 2 {
		return err
	}
	var names []string
	for _, e := range r.senders() {
		names = append(names, e.repository.RegistryStr())
	}
	err = fmt.Errorf("sent by %s: %w", strings.Join(names, " and "), err)
	if len(r.lies) > 0 {
		err = joinMisses(append(slices.Clone(r.lies), err))
	}
	return err
}

// open asks the endpoint for the blob from offset on.
func (r *resumer) open() error {
	e := r.hosts[r.at]
	byteRange := ""
	if (r.offset > 0 || r.end < r.blob.Size) && !r.noRange {
		byteRange = fmt.Sprintf("bytes=%d-%d", r.offset, r.end-1)
	}
	response, cancel, err := e.request(r.ctx, "blobs/"+r.blob.Digest.String(), byteRange, r.registry.retry) //nolint:bodyclose // Close does
	if err != nil {
		return err
	}
	r.response, r.cancel = response, cancel
	r.mu.Lock()
	if !slices.Contains(r.sent, e) {
		r.sent = append(r.sent, e)
	}
	r.mu.Unlock()
	if response.StatusCode == http.StatusPartialContent {
		return r.checkRange()
	}
	if n := response.ContentLength; n >= 0 && n != r.blob.Size {
		return fmt.Errorf("the registry has %d bytes for it, the manifest says %d: %w", n, r.blob.Size, ErrTampered)
	}
	if _, err := io.CopyN(io.Discard, response.Body, r.offset); err != nil {
		return again(fmt.Errorf("skip what was read before: %w: %w", ErrUnreachable, err))
	}
	return nil
}

// checkRange refuses any other part of the blob than the one that was asked for.
func (r *resumer) checkRange() error {
	got := r.response.Header.Get("Content-Range")
	want := fmt.Sprintf("bytes %d-%d/", r.offset, r.end-1)
	if (r.offset > 0 || r.end < r.blob.Size) && (got == want+"*" || got == fmt.Sprintf("%s%d", want, r.blob.Size)) {
		return nil
	}
	return again(fmt.Errorf("asked for %q, it sent %q: %w", want, got, errNoRange))
}

// Close ends the connection.
func (r *resumer) Close() error {
	if r.response == nil {
		return nil
	}
	err := r.response.Body.Close()
	r.cancel()
	r.response = nil
	return err
}
