package pack

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pawl-os/pawl/image/format"
)

// Compression is how layers are stored.
type Compression int

// The compressions. Zstd unpacks four times as fast as Gzip; None is for assets that are compressed already and for
// tests.
const (
	Zstd Compression = iota
	Gzip
	None
)

// String is the compression's name.
func (c Compression) String() string {
	switch c {
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	case None:
		return "none"
	}
	return fmt.Sprintf("Compression(%d)", int(c))
}

func (c Compression) mediaType() types.MediaType {
	switch c {
	case Gzip:
		return types.OCILayer
	case None:
		return types.OCIUncompressedLayer
	}
	return types.OCILayerZStd
}

// layer is a finished layer.
type layer struct {
	descriptor v1.Descriptor
	diffID     v1.Hash
	asset      format.Asset
	note       string // for people; "" if there is nothing to say
	patches    []layer
}

// addLayer writes the layer that holds an asset, or the entrypoint, with all its parent directories.
func (l *Layout) addLayer(a Asset, i Image, isAsset bool) (layer, error) {
	name, mode := a.Name, int64(0o755)
	if isAsset {
		name, mode = path.Join(format.Dir(i.Arch), a.Name), 0o644
	}
	b, err := l.createBlob()
	if err != nil {
		return layer{}, err
	}
	defer b.discard()
	packed, err := newFramer(b, i.Compression)
	if err != nil {
		return layer{}, err
	}
	diffID, content := sha256.New(), sha256.New()
	archive := tar.NewWriter(io.MultiWriter(packed, diffID))
	if err := writeHeaders(archive, name, a.Size, mode, i.Created); err != nil {
		return layer{}, err
	}
	if err := packed.content(a.Size, isAsset && i.Compression == Zstd && a.Size >= chunksFrom); err != nil {
		return layer{}, err
	}
	start := &beginning{}
	to := []io.Writer{archive, content, start}
	var made patchers
	if isAsset && a.Size >= chunksFrom {
		made, err = l.patchers(a, i.Old)
		defer made.discard()
	}
	if err != nil {
		return layer{}, err
	}
	for _, p := range made {
		to = append(to, p)
	}
	if err := a.Write(io.MultiWriter(to...)); err != nil {
		return layer{}, err
	}
	if err := archive.Close(); err != nil { // an asset that was shorter than its size is an error here
		return layer{}, err
	}
	if err := packed.Close(); err != nil {
		return layer{}, err
	}
	table, note, err := packed.addTable()
	if err != nil {
		return layer{}, err
	}
	if isAsset && a.Name == UKIAsset {
		if err := start.states(a.Size, i.Version); err != nil {
			return layer{}, err
		}
	}
	digest, size, err := b.commit()
	if err != nil {
		return layer{}, err
	}
	sum := fmt.Sprintf("%x", content.Sum(nil))
	patches, left, err := made.finish(sum)
	if err != nil {
		return layer{}, err
	}
	annotations := map[string]string{AssetAnnotation: ""}
	if isAsset {
		annotations = map[string]string{AssetAnnotation: a.Name, FramesAnnotation: packed.frames.String()}
	}
	if table != nil {
		annotations[ChunksAnnotation] = table.String()
	}
	return layer{
		descriptor: v1.Descriptor{MediaType: i.Compression.mediaType(), Size: size, Digest: digest,
			Annotations: annotations},
		diffID: hashOf(diffID),
		asset:  format.Asset{Name: a.Name, Size: a.Size, SHA256: sum, Verity: a.Verity},
		note:   cmp.Or(note, left), patches: patches,
	}, nil
}

// writeHeaders writes the directories above name and then the header of the file.
func writeHeaders(archive *tar.Writer, name string, size, mode int64, modified time.Time) error {
	if modified.IsZero() {
		modified = time.Unix(0, 0)
	}
	modified = modified.UTC().Truncate(time.Second)
	for i := range name {
		if name[i] != '/' {
			continue
		}
		if err := archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeDir, Name: name[:i+1], Mode: 0o755, ModTime: modified,
		}); err != nil {
			return err
		}
	}
	return archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: modified,
	})
}

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.ToLower(fmt.Sprintf("%x", h.Sum(nil)))}
}
