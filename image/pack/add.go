package pack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pawl-os/pawl/image/format"
)

// Built is an image or an index that is whole in a layout.
type Built struct {
	Digest  string // "sha256:" and 64 hex digits: what a reference pins
	Version string
	Arch    string // GOARCH; "" for an index

	// Notes say what of the image could serve upgrades better, a sentence each, for people; only of what Add has made.
	Notes []string

	descriptor v1.Descriptor
}

// maxLayers is what package image reads.
const maxLayers = 256

// Add packs an image into the layout. Nothing names it yet: Tag does.
func (l *Layout) Add(ctx context.Context, i Image) (Built, error) {
	if err := i.check(); err != nil {
		return Built{}, fmt.Errorf("pack image: %w", err)
	}
	stated := VersionAnnotation
	if len(i.Assets) == 0 {
		stated = InstallerAnnotation
	}
	config := v1.ConfigFile{
		OS: "linux", Architecture: i.Arch,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Labels: map[string]string{stated: i.Version}},
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: map[string]string{}}
	maps.Copy(manifest.Annotations, i.Annotations)
	manifest.Annotations[stated] = i.Version
	if !i.Created.IsZero() {
		created := i.Created.UTC().Truncate(time.Second)
		config.Created = v1.Time{Time: created}
		manifest.Annotations[CreatedAnnotation] = created.Format(time.RFC3339)
	}

	var assets []format.Asset
	var notes []string
	var patches []layer
	layers := i.Assets
	if i.Entrypoint.Name != "" {
		layers = append([]Asset{i.Entrypoint}, layers...)
		config.Config.Entrypoint = []string{"/" + i.Entrypoint.Name}
	}
	for n, a := range layers {
		if err := ctx.Err(); err != nil {
			return Built{}, fmt.Errorf("pack image: %w", err)
		}
		isAsset := n >= len(layers)-len(i.Assets)
		added, err := l.addLayer(a, i, isAsset)
		if err != nil {
			kind := "entrypoint"
			if isAsset {
				kind = "asset"
			}
			return Built{}, fmt.Errorf("pack image: %s %s: %w", kind, a.Name, err)
		}
		manifest.Layers = append(manifest.Layers, added.descriptor)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, added.diffID)
		config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: "pawl: " + a.Name})
		if isAsset {
			assets = append(assets, added.asset)
		}
		if added.note != "" {
			notes = append(notes, a.Name+": "+added.note)
		}
		patches = append(patches, added.patches...)
	}
	// On top, so that what is below is the same with and without them, for those who unpack layers.
	for _, p := range patches {
		manifest.Layers = append(manifest.Layers, p.descriptor)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, p.diffID)
		config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: "pawl: a patch"})
	}
	if n := len(manifest.Layers); n > maxLayers {
		return Built{}, fmt.Errorf("pack image: %d layers, and a node reads %d (make fewer patches)", n, maxLayers)
	}
	if len(assets) != 0 { // a base says nothing of those that will lie on it
		manifest.Annotations[AssetsAnnotation] = list(assets)
	}
	var err error
	if manifest.Config, err = l.addJSON(config, types.OCIConfigJSON); err != nil {
		return Built{}, fmt.Errorf("pack image: config: %w", err)
	}
	d, err := l.addJSON(manifest, types.OCIManifestSchema1)
	if err != nil {
		return Built{}, fmt.Errorf("pack image: manifest: %w", err)
	}
	d.Platform = &v1.Platform{OS: "linux", Architecture: i.Arch}
	return Built{Digest: d.Digest.String(), Version: i.Version, Arch: i.Arch, Notes: notes, descriptor: d}, nil
}

// list is the annotation of an image's assets. It sorts them.
func list(assets []format.Asset) string {
	slices.SortFunc(assets, func(a, b format.Asset) int { return strings.Compare(a.Name, b.Name) })
	data, err := json.Marshal(assets)
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(data)
}

// Index joins images, one an architecture, under one digest. They must be of one version.
func (l *Layout) Index(images ...Built) (Built, error) {
	if len(images) == 0 {
		return Built{}, errors.New("make index: no images given")
	}
	index := v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Annotations: map[string]string{VersionAnnotation: images[0].Version},
	}
	seen := map[string]bool{}
	for _, b := range images {
		switch {
		case b.Arch == "":
			return Built{}, fmt.Errorf("make index: %s is an index itself", b.Digest)
		case b.Version != images[0].Version:
			return Built{}, fmt.Errorf("make index: versions %s and %s", images[0].Version, b.Version)
		case seen[b.Arch]:
			return Built{}, fmt.Errorf("make index: two images for %s", b.Arch)
		}
		seen[b.Arch] = true
		index.Manifests = append(index.Manifests, b.descriptor)
	}
	d, err := l.addJSON(index, types.OCIImageIndex)
	if err != nil {
		return Built{}, fmt.Errorf("make index: %w", err)
	}
	return Built{Digest: d.Digest.String(), Version: images[0].Version, descriptor: d}, nil
}
