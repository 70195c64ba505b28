package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pawl-os/pawl/bootloader/arch"
)

// Limits on what is looked at to find the image of an architecture.
const (
	maxDepth     = 4  // of indexes in indexes
	maxManifests = 64 // of all that are read
)

// chooser finds the image for an architecture behind a manifest or an index. Platforms in an index are hints: the
// config of an image decides, and says so where an index says nothing. What describes another image, as attestations
// and signatures do, is never chosen.
type chooser struct {
	source source
	arch   string
	read   int      // manifests so far
	has    []string // platforms that are there and not wanted
}

// chosen is an image for the architecture.
type chosen struct {
	digest   v1.Hash
	manifest *v1.Manifest
	config   *config
}

// config is as much of an image's config as is needed. What else is in it, and how it is written, does not matter.
type config struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	RootFS       struct {
		DiffIDs []v1.Hash `json:"diff_ids"`
	} `json:"rootfs"`
	Config json.RawMessage `json:"config"`
}

// label is the config's label of that name, or empty: a version that is not understood is as good as none, since the
// system has its own.
func (c *config) label(name string) string {
	var run struct{ Labels map[string]any }
	if json.Unmarshal(c.Config, &run) != nil {
		return ""
	}
	text, _ := run.Labels[name].(string)
	return text
}

// errArtifact is of a manifest that is no image.
var errArtifact = fmt.Errorf("it describes another image: %w", ErrPlatform)

// choose finds the image behind a manifest with that digest, which has been verified.
func (c *chooser) choose(ctx context.Context, raw []byte, digest v1.Hash) (*chosen, error) {
	found, err := c.within(ctx, raw, digest, 0)
	if err != nil && errors.Is(err, ErrPlatform) {
		if len(c.has) == 0 {
			c.has = []string{"nothing that names a platform"}
		}
		return nil, fmt.Errorf("it has %s, linux/%s is wanted: %w", some(c.has), c.arch, ErrPlatform)
	}
	return found, err
}

func (c *chooser) within(ctx context.Context, raw []byte, digest v1.Hash, depth int) (*chosen, error) {
	m, index, err := readManifest(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	case m != nil && depth > 0 && isArtifact(raw, m):
		return nil, errArtifact
	case m != nil:
		return c.image(ctx, m, digest)
	case depth == maxDepth:
		return nil, fmt.Errorf("index %s: more than %d indexes in each other: %w", digest, maxDepth, ErrUnsafe)
	}
	return c.first(ctx, c.candidates(index.Manifests), depth)
}

// first is the first of the entries that leads to an image for the architecture.
func (c *chooser) first(ctx context.Context, entries []v1.Descriptor, depth int) (*chosen, error) {
	miss := ErrPlatform
	for _, d := range entries {
		if c.read++; c.read > maxManifests {
			return nil, fmt.Errorf("more than %d manifests to look at: %w", maxManifests, ErrUnsafe)
		}
		raw, err := c.source.manifest(ctx, d)
		if err == nil {
			err = verify("manifest", raw, d.Digest)
		}
		var found *chosen
		if err == nil {
			found, err = c.within(ctx, raw, d.Digest, depth+1)
		}
		switch {
		case err == nil:
			return found, nil
		case errors.Is(err, ErrPlatform):
		case errors.Is(err, ErrNotFound) && d.Platform == nil: // a copy that holds some platforms only
			miss = err
		default:
			return nil, err
		}
	}
	return nil, miss
}

// image reads the config, and takes the image if it is for the architecture.
func (c *chooser) image(ctx context.Context, m *v1.Manifest, digest v1.Hash) (*chosen, error) {
	if m.Config.Size < 0 || m.Config.Size > maxManifest {
		return nil, fmt.Errorf("config of %d bytes: at most %d are read: %w", m.Config.Size, maxManifest, ErrUnsafe)
	}
	raw, err := readSmall(ctx, c.source, m.Config)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", m.Config.Digest, err)
	}
	var conf config
	if err := json.Unmarshal(raw, &conf); err != nil {
		return nil, fmt.Errorf("config %s: %w: %w", m.Config.Digest, err, ErrUnreadable)
	}
	if !c.wants(conf.OS, conf.Architecture) {
		return nil, ErrPlatform
	}
	return &chosen{digest, m, &conf}, nil
}

// wants tells whether a platform is the one that is wanted, and notes it if it is another one.
func (c *chooser) wants(os, machine string) bool {
	machine = arch.Canonical(machine)
	if (os == "linux" || os == "") && machine == c.arch {
		return true
	}
	if name := os + "/" + machine; os != "unknown" && machine != "unknown" && !slices.Contains(c.has, name) &&
		len(c.has) < maxManifests {
		c.has = append(c.has, name)
	}
	return false
}

// candidates are the entries that may be for the architecture, the likeliest first: those that say so and need no
// variant, those that need one, and those that do not say.
func (c *chooser) candidates(entries []v1.Descriptor) []v1.Descriptor {
	var all, variants, silent []v1.Descriptor
	wanted, err := arch.Named(c.arch)
	all64 := err == nil // what all its machines run is known
	for _, d := range entries {
		p := d.Platform
		switch {
		case describesAnother(d):
		case p == nil || p.Architecture == "":
			silent = append(silent, d)
		case !c.wants(p.OS, p.Architecture):
		case p.Variant == "" || all64 && p.Variant == wanted.Variant:
			all = append(all, d)
		default:
			variants = append(variants, d)
		}
	}
	return slices.Concat(all, variants, silent)
}

// describesAnother tells by an entry of an index that it is an attestation, a signature or another artifact.
func describesAnother(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || !isImageType(d.ArtifactType) ||
		d.Platform != nil && (d.Platform.OS == "unknown" || d.Platform.Architecture == "unknown") ||
		d.MediaType != "" && !d.MediaType.IsIndex() && !d.MediaType.IsImage()
}

// isImageType tells the type of an artifact that is an ordinary image: none, or that of its config, as some programs
// write it.
func isImageType(artifact string) bool {
	return slices.Contains([]string{"", string(types.OCIConfigJSON), string(types.DockerConfigJSON)}, artifact)
}

// isArtifact tells the same by the manifest itself.
func isArtifact(raw []byte, m *v1.Manifest) bool {
	var says struct {
		ArtifactType string          `json:"artifactType"`
		Subject      json.RawMessage `json:"subject"`
	}
	_ = json.Unmarshal(raw, &says) // it has been read before
	statement := func(d v1.Descriptor) bool { return strings.HasPrefix(string(d.MediaType), "application/vnd.in-toto") }
	return !isImageType(says.ArtifactType) || len(says.Subject) > 0 && string(says.Subject) != "null" ||
		m.Config.MediaType == types.MediaType(emptyType) || slices.ContainsFunc(m.Layers, statement)
}

// some lists names that came from outside, for people: not too many, not too long, and nothing that a terminal acts on.
func some(names []string) string {
	const most = 16
	var shown []string
	for _, n := range names[:min(len(names), most)] {
		if len(n) > 64 {
			n = n[:64] + "..."
		}
		quoted := fmt.Sprintf("%q", n)
		shown = append(shown, quoted[1:len(quoted)-1])
	}
	if more := len(names) - most; more > 0 {
		shown = append(shown, fmt.Sprintf("%d more", more))
	}
	return strings.Join(shown, ", ")
}
