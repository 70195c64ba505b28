package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tagAnnotation is where an OCI layout keeps a tag.
const tagAnnotation = "org.opencontainers.image.ref.name"

// layout is an OCI image layout in a directory.
type layout struct {
	dir    string
	tag    string  // "" if none was given
	digest v1.Hash // zero if none was given
}

func (l *layout) root(context.Context) ([]byte, v1.Hash, error) {
	if _, err := os.Stat(filepath.Join(l.dir, "oci-layout")); err != nil {
		return nil, v1.Hash{}, fmt.Errorf("%s is no OCI layout: %w: %w", l.dir, err, ErrNotFound)
	}
	if l.digest != (v1.Hash{}) {
		raw, err := l.manifest(context.Background(), v1.Descriptor{Digest: l.digest})
		return raw, l.digest, err
	}
	raw, err := readFile(filepath.Join(l.dir, "index.json"))
	if err != nil {
		return nil, v1.Hash{}, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, v1.Hash{}, fmt.Errorf("read index.json: %w", err)
	}
	d, err := l.find(index.Manifests)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	raw, err = l.manifest(context.Background(), *d)
	return raw, d.Digest, err
}

// find chooses the entry of the tag, or the only one when no tag was given.
func (l *layout) find(entries []v1.Descriptor) (*v1.Descriptor, error) {
	var tags []string
	for _, d := range entries {
		tag := d.Annotations[tagAnnotation]
		if l.tag != "" && tag == l.tag {
			return &d, nil
		}
		if tag != "" {
			tags = append(tags, tag)
		}
	}
	has := "no tags"
	if len(tags) > 0 {
		has = "the tags " + strings.Join(tags, ", ")
	}
	switch {
	case l.tag != "":
		return nil, fmt.Errorf("no tag %s: the layout has %s: %w", l.tag, has, ErrNotFound)
	case len(entries) != 1:
		return nil, fmt.Errorf("%d entries and %s: name one as oci:%s:TAG: %w", len(entries), has, l.dir, ErrNotFound)
	}
	return &entries[0], nil
}

func (l *layout) manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	return readFile(l.path(d.Digest))
}

func (l *layout) blob(_ context.Context, d v1.Descriptor) (body, error) {
	f, err := os.Open(l.path(d.Digest))
	if isMissing(err) {
		return nil, fmt.Errorf("the layout lacks it: %w: %w", err, ErrNotFound)
	}
	return localBody{f}, err
}

func (l *layout) path(h v1.Hash) string { return filepath.Join(l.dir, "blobs", h.Algorithm, h.Hex) }

// localBody is a blob in a file.
type localBody struct{ *os.File }

func (localBody) Interrupted() int { return 0 }

// readFile reads a small file of a layout.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if isMissing(err) {
		return nil, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAtMost(f, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
