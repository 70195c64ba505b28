package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/format"
)

// layout is an OCI image layout in a directory or a tar archive.
type layout struct {
	files  store
	name   string  // as it is written in a reference, with its scheme
	arch   string  // GOARCH that is wanted, where a tag is there once for each
	tag    string  // "" if none was given
	digest v1.Hash // zero if none was given
}

// store opens files by their names in a layout, with forward slashes. A missing one is fs.ErrNotExist.
type store interface {
	open(name string) (body, error)
}

func (l *layout) root(ctx context.Context) ([]byte, v1.Hash, error) {
	if _, err := l.read("oci-layout"); err != nil {
		return nil, v1.Hash{}, fmt.Errorf("%s is no OCI layout: %w", l.name, err)
	}
	if l.digest != (v1.Hash{}) {
		raw, err := l.manifest(ctx, v1.Descriptor{Digest: l.digest})
		return raw, l.digest, err
	}
	raw, err := l.read("index.json")
	if err != nil {
		return nil, v1.Hash{}, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, v1.Hash{}, fmt.Errorf("read index.json: %w: %w", err, ErrUnreadable)
	}
	entries, err := l.find(index.Manifests)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	if len(entries) == 1 {
		raw, err = l.manifest(ctx, entries[0])
		return raw, entries[0].Digest, err
	}
	return l.forArch(ctx, entries)
}

// forArch is the one of several entries that leads to an image for the architecture.
func (l *layout) forArch(ctx context.Context, entries []v1.Descriptor) ([]byte, v1.Hash, error) {
	c := &chooser{source: l, arch: l.arch}
	for _, d := range c.candidates(entries) {
		raw, err := l.manifest(ctx, d)
		if err == nil {
			err = verify("manifest", raw, d.Digest)
		}
		if err == nil {
			_, err = c.within(ctx, raw, d.Digest, 1)
		}
		if err == nil {
			return raw, d.Digest, nil
		}
		if !errors.Is(err, ErrPlatform) {
			return nil, v1.Hash{}, err
		}
	}
	return nil, v1.Hash{}, fmt.Errorf("it has %s, linux/%s is wanted: %w", some(c.has), l.arch, ErrPlatform)
}

// imageName is where containerd keeps the whole name of an image.
const imageName = "io.containerd.image.name"

// find returns the entries of the tag, or all images when no tag was given and they are one: several only if they have
// one name, for several architectures.
func (l *layout) find(entries []v1.Descriptor) ([]v1.Descriptor, error) {
	var found []v1.Descriptor
	var tags []string
	for _, d := range entries {
		tag := d.Annotations[format.TagAnnotation]
		if l.tag != "" && (tag == l.tag || d.Annotations[imageName] == l.tag) || l.tag == "" && !describesAnother(d) {
			found = append(found, d)
		}
		if tag != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	has := "no tags"
	if len(tags) > 0 {
		has = "the tags " + some(tags)
	}
	if len(found) == 0 && l.tag != "" {
		return nil, fmt.Errorf("no tag %s: the layout has %s: %w", l.tag, has, ErrNotFound)
	}
	for _, d := range found {
		if one := found[0]; len(found) > 1 &&
			(d.Annotations[format.TagAnnotation] != one.Annotations[format.TagAnnotation] || l.tag == "" &&
				d.Platform == nil) {
			return nil, fmt.Errorf("%d entries and %s: name one as %s:TAG: %w", len(entries), has, l.name, ErrNotFound)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%d entries, and none is an image: %w", len(entries), ErrNotFound)
	}
	return found, nil
}

func (l *layout) manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	return l.read(blobName(d.Digest))
}

func (l *layout) blob(ctx context.Context, d v1.Descriptor) (body, error) {
	b, err := l.files.open(blobName(d.Digest))
	if isMissing(err) {
		return nil, fmt.Errorf("it is not in %s: %w: %w", l.name, err, ErrNotFound)
	}
	return ending(ctx, b, err)
}

// read reads a small file.
func (l *layout) read(name string) ([]byte, error) {
	return readSmallFile(l.files, name)
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func readSmallFile(s store, name string) ([]byte, error) {
	b, err := s.open(name)
	if isMissing(err) {
		return nil, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer b.Close()
	data, err := readAtMost(b, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// dirStore is a directory.
type dirStore string

func (d dirStore) open(name string) (body, error) {
	f, err := openFile(system{}, filepath.Join(string(d), filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	return localBody{f}, nil
}

// files is where a file is looked for: the whole system, or an os.Root.
type files interface {
	Stat(name string) (fs.FileInfo, error)
	OpenFile(name string, flag int, mode fs.FileMode) (*os.File, error)
}

type system struct{}

func (system) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }
func (system) OpenFile(name string, flag int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, mode)
}

// openFile opens a regular file. Anything else is refused before it is opened, which alone may do something, and at
// once if it came in between: what reads from a pipe may wait for ever.
func openFile(in files, name string) (*os.File, error) {
	info, err := in.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := regular(name, info); err != nil {
		return nil, err
	}
	f, err := in.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = regular(name, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func regular(name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file (mode %v): %w", name, info.Mode(), ErrUnsafe)
	}
	return nil
}

// localBody is a blob that no connection can drop.
type localBody struct{ io.ReadCloser }

func (localBody) Interrupted() int { return 0 }

// ending is b, whose reads end with ctx.
func ending(ctx context.Context, b body, err error) (body, error) {
	if err != nil {
		return nil, err
	}
	return localBody{struct {
		io.Reader
		io.Closer
	}{&cancellable{ctx, b}, b}}, nil
}
