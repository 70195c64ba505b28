package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// part asks each endpoint in turn for a part of a blob.
func (r *registry) part(ctx context.Context, d v1.Descriptor, p []byte, offset int64) (int, error) {
	var misses []error
	asked := 0
	hosts, _ := r.trusted()
	for _, e := range hosts {
		err := r.retry.do(ctx, func() error {
			asked++
			return e.part(ctx, d, p, offset, r.retry)
		})
		if err == nil {
			return asked - 1, nil
		}
		misses = append(misses, fmt.Errorf("%s: %w", e.repository.RegistryStr(), err))
		if ctx.Err() != nil {
			break
		}
	}
	return asked, joinMisses(misses)
}

// part reads a part of a blob by one request. A registry that answers with anything else, such as the whole of it, is
// not asked again.
func (e *endpoint) part(ctx context.Context, d v1.Descriptor, p []byte, offset int64, retry Retry) error {
	span := fmt.Sprintf("%d-%d", offset, offset+int64(len(p))-1)
	response, cancel, err := e.request(ctx, "blobs/"+d.Digest.String(), "bytes="+span, retry)
	if errors.Is(err, errNoRange) {
		return errNoRange // for good
	}
	if err != nil {
		return err
	}
	defer cancel()
	defer response.Body.Close()
	got, want := response.Header.Get("Content-Range"), "bytes "+span+"/"
	if response.StatusCode != http.StatusPartialContent || got != want+"*" && got != fmt.Sprintf("%s%d", want, d.Size) {
		return errNoRange
	}
	if _, err := io.ReadFull(response.Body, p); err != nil {
		return again(fmt.Errorf("%w: %w", ErrUnreachable, err))
	}
	return nil
}
