package pack

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/image/format"
)

// TagAnnotation is where an OCI layout keeps a tag.
const TagAnnotation = format.TagAnnotation

const layoutFile = `{"imageLayoutVersion":"1.0.0"}`

// ErrNoTag is returned when a layout has no entry of that tag. Do: list them with [Layout.Tags].
var ErrNoTag = errors.New("no such tag in the layout")

// Layout is an OCI image layout in a directory. Several goroutines and processes may add to one at once: who changes
// its list of tags holds a lock on the file oci-layout meanwhile, and all wait for each other.
type Layout struct {
	dir string
}

// Create opens the layout in dir, and makes directory and layout when they are not there. A directory with other
// things in it is refused.
func Create(dir string) (*Layout, error) {
	l := &Layout{dir: dir}
	if info, err := os.Stat(l.path("oci-layout")); err == nil && info.Size() > 0 {
		if _, err := l.index(); err != nil {
			return nil, fmt.Errorf("open layout: %w", err)
		}
		return l, nil
	}
	if entries, err := os.ReadDir(dir); err == nil && slices.ContainsFunc(entries, isForeign) {
		if _, err := os.Stat(l.path("oci-layout")); errors.Is(err,
			fs.ErrNotExist) { // asked last: it is what a layout begins with
			return nil, fmt.Errorf("create layout: %s is not empty and no OCI layout; name another directory", dir)
		}
	}
	if err := os.MkdirAll(l.path("blobs", "sha256"), 0o755); err != nil {
		return nil, fmt.Errorf("create layout: %w", err)
	}
	if err := l.locked(l.begin); err != nil {
		return nil, fmt.Errorf("create layout: %w", err)
	}
	return l, nil
}

// isForeign reports whether an entry of a directory is none that a layout begins with: another process may be making it
// just now.
func isForeign(entry fs.DirEntry) bool {
	return entry.Name() != "blobs" && entry.Name() != "oci-layout"
}

// begin makes an empty layout, unless another process has done so by now. The file oci-layout, written last, marks it
// as whole.
func (l *Layout) begin(mark *os.File) error {
	info, err := mark.Stat()
	if err != nil || info.Size() > 0 {
		return err
	}
	if _, err = l.index(); errors.Is(err, fs.ErrNotExist) {
		err = l.writeIndex(&v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex,
			Manifests: []v1.Descriptor{}})
	}
	if err != nil {
		return err
	}
	_, err = mark.WriteString(layoutFile)
	return err
}

// locked calls f while no other process that asks for the lock is in it. A process that dies lets go. A layout that
// another tool changes meanwhile is not protected.
func (l *Layout) locked(f func(mark *os.File) error) (err error) {
	mark, err := os.OpenFile(l.path("oci-layout"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mark.Close()) }()
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(mark.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w (use a directory on a file system that knows locks)", mark.Name(), err)
	}
	return f(mark)
}

// Dir is the layout's directory, as it was given.
func (l *Layout) Dir() string { return l.dir }

var tagShape = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// CheckTag refuses what cannot be a tag.
func CheckTag(tag string) error {
	if !tagShape.MatchString(tag) {
		return fmt.Errorf("tag %q: want letters, digits, dots, dashes and underscores, 128 at most, the first no dot "+
			"and no dash", tag)
	}
	return nil
}

// Tag names b in the layout. An entry that had the tag loses it.
func (l *Layout) Tag(tag string, b Built) error {
	if err := CheckTag(tag); err != nil {
		return err
	}
	if err := l.locked(func(*os.File) error { return l.tag(tag, b) }); err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	return nil
}

func (l *Layout) tag(tag string, b Built) error {
	index, err := l.index()
	if err != nil {
		return err
	}
	index.Manifests = slices.DeleteFunc(index.Manifests,
		func(d v1.Descriptor) bool { return d.Annotations[TagAnnotation] == tag })
	d := b.descriptor
	d.Annotations = map[string]string{TagAnnotation: tag, VersionAnnotation: b.Version}
	index.Manifests = append(index.Manifests, d)
	return l.writeIndex(index)
}

// Tags lists the tags of the layout in the order in which they were given.
func (l *Layout) Tags() ([]string, error) {
	index, err := l.index()
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	var tags []string
	for _, d := range index.Manifests {
		if tag := d.Annotations[TagAnnotation]; tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// Find returns what a tag names, or [ErrNoTag].
func (l *Layout) Find(tag string) (Built, error) {
	index, err := l.index()
	if err != nil {
		return Built{}, fmt.Errorf("find %s: %w", tag, err)
	}
	for _, d := range index.Manifests {
		if d.Annotations[TagAnnotation] == tag {
			b := Built{Digest: d.Digest.String(), Version: d.Annotations[VersionAnnotation], descriptor: d}
			b.descriptor.Annotations = nil
			if d.Platform != nil {
				b.Arch = d.Platform.Architecture
			}
			return b, nil
		}
	}
	return Built{}, fmt.Errorf("find %s in %s: %w", tag, l.dir, ErrNoTag)
}

func (l *Layout) path(elements ...string) string {
	return filepath.Join(append([]string{l.dir}, elements...)...)
}

func (l *Layout) blobPath(h v1.Hash) string { return l.path("blobs", h.Algorithm, h.Hex) }

func (l *Layout) index() (*v1.IndexManifest, error) {
	data, err := os.ReadFile(l.path("index.json"))
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("read %s: %w", l.path("index.json"), err)
	}
	return &index, nil
}

// writeIndex replaces index.json: a cut leaves the old one or the new one.
func (l *Layout) writeIndex(index *v1.IndexManifest) error {
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(l.dir, ".index-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	return publish(f, l.path("index.json"))
}

// publish makes the temporary file f whole on the disk and gives it its name.
func publish(f *os.File, name string) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// blob is a blob while it is being written: under a temporary name, hashed on the way.
type blob struct {
	layout *Layout
	file   *os.File
	digest hash.Hash
	size   int64
}

func (l *Layout) createBlob() (*blob, error) {
	f, err := os.CreateTemp(l.dir, ".blob-")
	if err != nil {
		return nil, err
	}
	return &blob{layout: l, file: f, digest: sha256.New()}, nil
}

func (b *blob) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.digest.Write(p[:n])
	b.size += int64(n)
	return n, err
}

// commit gives the blob its name, its digest.
func (b *blob) commit() (v1.Hash, int64, error) {
	h := hashOf(b.digest)
	return h, b.size, publish(b.file, b.layout.blobPath(h))
}

// discard removes what was not committed.
func (b *blob) discard() {
	b.file.Close()
	os.Remove(b.file.Name())
}

// addJSON stores a value as a blob.
func (l *Layout) addJSON(value any, mediaType types.MediaType) (v1.Descriptor, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return v1.Descriptor{}, err
	}
	b, err := l.createBlob()
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer b.discard()
	if _, err := b.Write(data); err != nil {
		return v1.Descriptor{}, err
	}
	digest, size, err := b.commit()
	return v1.Descriptor{MediaType: mediaType, Size: size, Digest: digest}, err
}
