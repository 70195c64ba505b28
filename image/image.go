// Package image finds, pulls, verifies and streams an installer image: the OCI image that carries one version's boot
// assets under /usr/install/<arch>/.
//
// Start with Open, which resolves a reference once and reads the manifest; then Image.Extract, which streams the assets
// one by one, layers from top to bottom, whiteouts applied, nothing stored on the way.
//
// Nothing is believed because of where it comes from: manifest, config and each layer that Extract reads are hashed
// here, to their last byte, whether from a registry, a mirror or a directory. Paths that climb, links, devices and
// layers that unpack without end are refused. Memory stays the same whatever the image's size. A connection that drops
// or falls silent is taken up again where it ended.
//
// With a Policy, an image counts only if the keys that it names have signed it, as cosign signs with a key: see
// [ReadPolicy].
//
// The package writes nothing and keeps nothing between runs. A tag is only as true as who answers for it: pin a digest,
// or have a policy, where that is not enough. Certificates, transparency logs and keyless signatures are not looked at.
//
// Specifications: OCI image format 1.1, OCI image layout 1.0, OCI distribution 1.1.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image/format"
)

// Errors that callers act on.
var (
	// ErrReference is returned for text that is no reference. Do: write one as Open describes.
	ErrReference = errors.New("not a reference")
	// ErrNotFound is returned when nothing has that name. Do: check the reference.
	ErrNotFound = errors.New("no such image")
	// ErrUnreachable is returned when a registry cannot be reached, or stopped answering for good. Do: try again later.
	ErrUnreachable = errors.New("the registry cannot be reached")
	// ErrDenied is returned when a registry refuses these credentials, or the lack of any. Do: log in.
	ErrDenied = errors.New("the registry denies access")
	// ErrPlatform is returned when the image is not made for this architecture. Do: use one that is.
	ErrPlatform = errors.New("not made for this platform")
	// ErrTampered is returned when bytes are not those that their digest names, or not as many. Do: push the image
	// again, or ask who changed it; never use it.
	ErrTampered = errors.New("the bytes are not those that the digest names")
	// ErrNoAssets is returned when an image has no boot assets. Do: use an installer image.
	ErrNoAssets = errors.New("no boot assets inside")
	// ErrUnreadable is returned when bytes are those that their digest names, and are not what they should be: no
	// manifest, a packing that is broken or not known. Do: build the image again, packed with zstd or gzip or not at
	// all.
	ErrUnreadable = errors.New("it cannot be read as an image")
	// ErrUnsafe is returned when a layer holds what an installer image never does: links or devices among the assets,
	// paths that climb, more bytes than the limit. Do: build the image without.
	ErrUnsafe = errors.New("refused as unsafe")
)

// Limits on what is held in memory.
const (
	maxManifest = 4 << 20
	maxLayers   = 256
	maxAssets   = 4096
)

// Image is an installer image whose manifest and config have been read and verified.
type Image struct {
	Reference string // as it was given to Open
	// what the reference resolved to: an index or a manifest, "sha256:" and 64 hex digits, or "sha512:" and 128
	Digest         string
	PlatformDigest string // digest of this platform's manifest; equal to Digest when there is no index
	// by annotation, else by the config's label of that name; "" if neither is there. What the UKI's .osrel says counts
	// more
	Version     string
	Arch        string            // GOARCH
	Annotations map[string]string // the manifest's
	Size        int64             // compressed bytes of all layers: what is downloaded at most
	Assets      []Asset           // sorted by name; nil unless the builder listed them

	source  source
	layers  []v1.Descriptor
	singles []Asset   // the one that each layer holds; nil unless all say so
	frames  []*frames // of each layer; nil where there is no table
	chunks  []*format.Chunks
	patches []patchLayer
	diffIDs []v1.Hash
	options Options
}

// Asset is one file of the image. Extract holds it to its digest if that is there.
type Asset = format.Asset

// source fetches bytes. What it returns is not trusted.
type source interface {
	signer
	// root returns the manifest or index that the reference names, and its digest as the reference or the source has
	// it.
	root(ctx context.Context) ([]byte, v1.Hash, error)
	// manifest returns a manifest by its digest.
	manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// blob opens a layer or a config by its digest. The caller closes it.
	blob(ctx context.Context, d v1.Descriptor) (body, error)
}

// body is an open blob.
type body interface {
	Read(p []byte) (int, error)
	Close() error
	Interrupted() int // how often the connection had to be made again
}

// Open resolves ref, reads and verifies its manifest for one architecture, and reads no layer. References:
//
//	host:port/repository:tag               a registry
//	host:port/repository@sha256:<digest>   a registry, pinned
//	oci:DIR  oci:DIR:tag  oci:DIR@sha256:<digest>   an OCI image layout
//	oci-archive:FILE, with :tag or @sha256:<digest> or neither   the same as a tar archive
//	docker-archive:FILE  docker-archive:FILE:tag   what "docker save" writes
//	dir:DIR                                where such an image was unpacked, as "/" is inside of its container
//
// The last two have no digest of their own; theirs is that of the manifest that their content amounts to. They are read
// once in Open for that.
func Open(ctx context.Context, ref string, o Options) (*Image, error) {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	s, err := parseReference(ref, o)
	if err != nil {
		return nil, err
	}
	i := &Image{Reference: ref, Arch: o.Arch, source: s, options: o}
	if err := i.open(ctx); err != nil {
		return nil, fmt.Errorf("open image %s: %w", ref, err)
	}
	return i, nil
}

func (i *Image) open(ctx context.Context) error {
	raw, digest, err := i.source.root(ctx)
	if err != nil {
		return err
	}
	if err := verify("manifest", raw, digest); err != nil {
		return err
	}
	i.Digest, i.PlatformDigest = digest.String(), digest.String()
	if i.options.Policy != nil {
		if err := i.checkSignatures(ctx, digest); err != nil {
			return err
		}
	}
	found, err := (&chooser{source: i.source, arch: i.Arch}).choose(ctx, raw, digest)
	if err != nil {
		return err
	}
	i.PlatformDigest = found.digest.String()
	if err := i.takeManifest(found.manifest); err != nil {
		return fmt.Errorf("manifest %s: %w", i.PlatformDigest, err)
	}
	if err := i.takeConfig(found.config); err != nil {
		return fmt.Errorf("config %s: %w", found.manifest.Config.Digest, err)
	}
	return i.checkWords()
}

// takeManifest keeps what Extract needs, and refuses what is absurd.
func (i *Image) takeManifest(m *v1.Manifest) error {
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%d layers, at most %d are read: %w", len(m.Layers), maxLayers, ErrUnsafe)
	}
	for n, d := range m.Layers {
		if d.Size < 0 || d.Size > i.options.maxBytes()-i.Size {
			return fmt.Errorf("layer %d of %d bytes: more than the limit of %d bytes: %w", n+1, d.Size,
				i.options.maxBytes(), ErrUnsafe)
		}
		i.Size += d.Size
	}
	i.layers, i.Annotations, i.Version = m.Layers, m.Annotations, m.Annotations[format.VersionAnnotation]
	list, listed := m.Annotations[format.AssetsAnnotation]
	if !listed {
		return i.isMoreThanABase()
	}
	if err := json.Unmarshal([]byte(list), &i.Assets); err != nil {
		return fmt.Errorf("annotation %s: %w: %w", format.AssetsAnnotation, err, ErrUnreadable)
	}
	if err := checkAssets(i.Assets); err != nil {
		return err
	}
	return i.takeFrames()
}

// isMoreThanABase refuses an installer's base image on which nothing has been put, before anything is given up for it.
func (i *Image) isMoreThanABase() error {
	if _, base := i.Annotations[format.InstallerAnnotation]; !base {
		return nil
	}
	for _, d := range i.layers {
		if asset, says := d.Annotations[format.AssetAnnotation]; !says || asset != "" {
			return nil
		}
	}
	return fmt.Errorf("it is an installer's base image (name an image that is built on it): %w", ErrNoAssets)
}

// takeConfig takes the digests of the unpacked layers.
func (i *Image) takeConfig(c *config) error {
	if len(c.RootFS.DiffIDs) != len(i.layers) {
		return fmt.Errorf("%d diff ids for %d layers: %w", len(c.RootFS.DiffIDs), len(i.layers), ErrTampered)
	}
	i.diffIDs = c.RootFS.DiffIDs
	if i.Version == "" {
		i.Version = c.label(format.VersionAnnotation)
	}
	return nil
}

// checkWords refuses what the image says of itself and what cannot be so: it is printed and recorded.
func (i *Image) checkWords() error {
	for name, text := range i.Annotations {
		if !strings.HasPrefix(name, format.UpgradeAnnotations) {
			continue
		}
		if err := bootloader.CheckVersion(text); err != nil {
			return fmt.Errorf("annotation %s: %w", some([]string{name}), err)
		}
	}
	if i.Version == "" {
		return nil
	}
	if err := bootloader.CheckVersion(i.Version); err != nil {
		return fmt.Errorf("the image states no version that a system can have (build it with another one, or with "+
			"none): %w", err)
	}
	return nil
}

// verify compares bytes with the digest that named them.
func verify(what string, raw []byte, want v1.Hash) error {
	h := newHash(want)
	h.Write(raw)
	if got := sum(h, want); got != want {
		return fmt.Errorf("%s %s: its bytes have digest %s: %w", what, want, got, ErrTampered)
	}
	return nil
}
