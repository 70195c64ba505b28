package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/format"
)

func (r *registry) repository() string { return r.ref.Context().Name() }

// signatures asks for cosign's tag, and for what refers to the image: by the registry's own list, or under the tag that
// stands in for it where there is none.
func (r *registry) signatures(ctx context.Context, of v1.Hash) ([][]byte, error) {
	var found [][]byte
	raw, _, err := r.get(ctx, format.SignatureTag(of.String()), v1.Hash{})
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

// referrers lists what may be signatures of the image, from the first endpoint that knows any. Where none does, the
// registry itself, the last one, decides whether that is an error, as it does for the tag.
func (r *registry) referrers(ctx context.Context, of v1.Hash) ([]v1.Descriptor, error) {
	var miss error
	for _, e := range r.endpoints {
		miss = nil
		for _, path := range []string{"referrers/" + of.String(), "manifests/" + of.Algorithm + "-" + of.Hex} {
			list, err := e.list(ctx, path, r.retry)
			switch {
			case errors.Is(err, ErrNotFound):
				continue
			case err != nil:
				miss = fmt.Errorf("%s: %w", e.repository.RegistryStr(), err)
			case len(list) > 0:
				return list, nil
			}
			if err != nil && !errors.Is(err, ErrUnreadable) {
				break
			}
		}
	}
	return nil, miss
}

// maxPages bounds a list of what refers to an image, and with maxSignatures what is taken of it.
const maxPages = 64

// list reads what may be signatures from a list, all of its pages.
func (e *endpoint) list(ctx context.Context, path string, retry Retry) (list []v1.Descriptor, err error) {
	for range maxPages {
		raw, link, err := e.small(ctx, path, retry)
		if err != nil {
			return nil, err
		}
		var index v1.IndexManifest
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, fmt.Errorf("read %s: %w: %w", path, err, ErrUnreadable)
		}
		list = append(list, onlySignatures(index.Manifests)...)
		if link == "" || len(list) > maxSignatures {
			return list, nil
		}
		if path, err = e.next(path, link); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("read %s: more than %d pages: %w", path, maxPages, ErrUnsafe)
}

// next is the path of the page behind that at path, below the repository, that a Link header names (RFC 8288).
func (e *endpoint) next(path, link string) (string, error) {
	target, _, found := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	base := &url.URL{Scheme: e.repository.Scheme(), Host: e.repository.RegistryStr(),
		Path: "/v2/" + e.repository.RepositoryStr() + "/"}
	u, err := base.Parse(path)
	if err == nil {
		u, err = u.Parse(target)
	}
	if err != nil || !found {
		return "", fmt.Errorf("the link %.64q to the next page: %w", link, ErrUnreadable)
	}
	page, below := strings.CutPrefix(u.EscapedPath(), base.Path)
	if !below || !strings.HasPrefix(page, "referrers/") || u.Host != base.Host {
		return "", fmt.Errorf("the next page %.64q is not below %s: %w", target, base, ErrUnreadable)
	}
	if u.RawQuery != "" {
		page += "?" + u.RawQuery
	}
	return page, nil
}

// small reads a small answer, and the link to the next one, if there is one.
func (e *endpoint) small(ctx context.Context, path string, retry Retry) (raw []byte, link string, err error) {
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
		link = ""
		for _, l := range response.Header.Values("Link") {
			if strings.HasPrefix(l, "<") && strings.Contains(l, "next") {
				link = l
			}
		}
		return nil
	})
	return raw, link, err
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
		if d.Annotations[format.TagAnnotation] != format.SignatureTag(of.String()) && !isSignature(d) {
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
