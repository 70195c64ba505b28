package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func (r *registry) repository() string { return r.ref.Context().Name() }

// signatures asks for cosign's tag, and for what refers to the image: by the registry's own list, or under the tag that
// stands in for it where there is none.
func (r *registry) signatures(ctx context.Context, of v1.Hash) ([][]byte, error) {
	var found [][]byte
	raw, _, err := r.get(ctx, signatureTag(of), v1.Hash{})
	switch {
	case err == nil:
		found = append(found, raw)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	list, err := r.referrers(ctx, of)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if len(found) >= maxSignatures {
			return nil, fmt.Errorf("more than %d signatures: %w", maxSignatures, ErrUnsafe)
		}
		raw, err := r.manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		found = append(found, raw)
	}
	return found, nil
}

// referrers lists what may be signatures of the image, from the first endpoint that knows any. Where none does, the registry itself,
// the last one, decides whether that is an error, as it does for the tag.
func (r *registry) referrers(ctx context.Context, of v1.Hash) ([]v1.Descriptor, error) {
	var miss error
	for _, e := range r.endpoints {
		miss = nil
		for _, path := range []string{"referrers/" + of.String(), "manifests/" + of.Algorithm + "-" + of.Hex} {
			raw, err := e.small(ctx, path, r.retry)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				miss = fmt.Errorf("%s: %w", e.repository.RegistryStr(), err)
				break
			}
			var index v1.IndexManifest
			if err := json.Unmarshal(raw, &index); err != nil {
				miss = fmt.Errorf("%s: read %s: %w", e.repository.RegistryStr(), path, err)
				continue
			}
			if list := onlySignatures(index.Manifests); len(list) > 0 {
				return list, nil
			}
		}
	}
	return nil, miss
}

// small reads a small answer.
func (e *endpoint) small(ctx context.Context, path string, retry Retry) (raw []byte, err error) {
	err = retry.do(ctx, func() error {
		response, cancel, err := e.request(ctx, path, "", retry)
		if err != nil {
			return err
		}
		defer cancel()
		defer response.Body.Close()
		if raw, err = readAtMost(response.Body, maxManifest); err != nil {
			return again(err)
		}
		return nil
	})
	return raw, err
}

func onlySignatures(all []v1.Descriptor) (list []v1.Descriptor) {
	for _, d := range all {
		if isSignature(d) {
			list = append(list, d)
		}
	}
	return list
}

func (l *layout) repository() string { return clean(l.name) }

// clean is a path as policies name it: one spelling, whatever was typed.
func clean(name string) string {
	for n := range name {
		if name[n] == ':' {
			if path, err := filepath.Abs(name[n+1:]); err == nil {
				return name[:n+1] + path
			}
		}
	}
	return name
}

// signatures looks for cosign's tag in the layout, and for entries that are signatures by their type.
func (l *layout) signatures(ctx context.Context, of v1.Hash) ([][]byte, error) {
	raw, err := l.read("index.json")
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("read index.json: %w: %w", err, ErrUnreadable)
	}
	var found [][]byte
	for _, d := range index.Manifests {
		if d.Annotations[tagAnnotation] != signatureTag(of) && !isSignature(d) {
			continue
		}
		if len(found) >= maxSignatures {
			return nil, fmt.Errorf("more than %d signatures: %w", maxSignatures, ErrUnsafe)
		}
		raw, err := l.manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		if err := verify("manifest", raw, d.Digest); err != nil {
			return nil, err
		}
		found = append(found, raw)
	}
	return found, nil
}

func (d *directory) repository() string { return clean("dir:" + d.dir) }

// signatures are none: a directory cannot carry them.
func (d *directory) signatures(context.Context, v1.Hash) ([][]byte, error) { return nil, nil }

func (a *dockerArchive) repository() string { return clean(a.name) }

// signatures are none: "docker save" leaves them behind.
func (a *dockerArchive) signatures(context.Context, v1.Hash) ([][]byte, error) { return nil, nil }
