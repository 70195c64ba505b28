package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerArchive is what "docker save" writes: a tar archive with manifest.json, which names a config and layers but no
// digests. So each layer is hashed once when it is opened, and held to the name of its file, where that is a digest,
// and to the diff id in the config. Specification: moby, image/spec/v1.2.md, "Combined Image JSON + Filesystem
// Changeset Format".
type dockerArchive struct {
	files store
	name  string
	tag   string             // "" or a repository tag, or what stands behind its colon
	blobs map[v1.Hash]string // names of files
	raw   []byte             // the manifest that was made of it
}

func parseDockerArchive(rest string) (source, error) {
	file, tag, _ := strings.Cut(rest, ":")
	if file == "" {
		return nil, fmt.Errorf("no path given")
	}
	return &dockerArchive{files: &tarStore{path: file}, name: "docker-archive:" + file, tag: tag,
		blobs: map[v1.Hash]string{}}, nil
}

// saved is one entry of manifest.json.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// root makes a manifest of the archive; its digest stands for the image.
func (a *dockerArchive) root(ctx context.Context) ([]byte, v1.Hash, error) {
	data, err := readSmallFile(a.files, "manifest.json")
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("%s is no docker archive: %w", a.name, err)
	}
	var all []saved
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, v1.Hash{}, fmt.Errorf("read manifest.json: %w: %w", err, ErrUnreadable)
	}
	one, err := a.find(all)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2}
	if m.Config, err = a.describe(ctx, one.Config, types.DockerConfigJSON); err != nil {
		return nil, v1.Hash{}, err
	}
	if len(one.Layers) > maxLayers {
		return nil, v1.Hash{}, fmt.Errorf("%d layers, at most %d are read: %w", len(one.Layers), maxLayers, ErrUnsafe)
	}
	for _, name := range one.Layers {
		d, err := a.describe(ctx, name, types.DockerLayer)
		if err != nil {
			return nil, v1.Hash{}, err
		}
		m.Layers = append(m.Layers, d)
	}
	if a.raw, err = json.Marshal(m); err != nil {
		return nil, v1.Hash{}, err
	}
	digest, _, err := v1.SHA256(strings.NewReader(string(a.raw)))
	return a.raw, digest, err
}

func (a *dockerArchive) find(all []saved) (*saved, error) {
	var tags []string
	for _, s := range all {
		if a.tag != "" && slices.ContainsFunc(s.RepoTags, func(t string) bool {
			return t == a.tag ||
				strings.HasSuffix(t, ":"+a.tag)
		}) {
			return &s, nil
		}
		tags = append(tags, s.RepoTags...)
	}
	if a.tag == "" && len(all) == 1 {
		return &all[0], nil
	}
	return nil, fmt.Errorf("%d images with the tags %s: name one as %s:TAG: %w", len(all), some(tags), a.name,
		ErrNotFound)
}

// describe hashes a file and compares it with its name.
func (a *dockerArchive) describe(ctx context.Context, name string, mediaType types.MediaType) (v1.Descriptor, error) {
	b, err := a.files.open(path.Clean(name))
	if isMissing(err) {
		return v1.Descriptor{}, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer b.Close()
	h := sha256.New()
	n, err := io.Copy(h, &cancellable{ctx, b})
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("read %s: %w", name, err)
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}
	// The names that are digests: "<hex>.json", "blobs/sha256/<hex>", "sha256:<hex>", "<hex>.tar.gz".
	stem, _, _ := strings.Cut(strings.TrimPrefix(path.Base(name), "sha256:"), ".")
	if named, err := v1.NewHash("sha256:" + stem); err == nil && named != digest {
		return v1.Descriptor{}, fmt.Errorf("%s: its bytes have digest %s: %w", name, digest, ErrTampered)
	}
	a.blobs[digest] = path.Clean(name)
	return v1.Descriptor{MediaType: mediaType, Size: n, Digest: digest}, nil
}

func (a *dockerArchive) manifest(context.Context, v1.Descriptor) ([]byte, error) { return a.raw, nil }

func (a *dockerArchive) blob(ctx context.Context, d v1.Descriptor) (body, error) {
	b, err := a.files.open(a.blobs[d.Digest])
	return ending(ctx, b, err)
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context
	io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.Reader.Read(p)
}
