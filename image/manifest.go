package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pawl-os/pawl/image/format"
)

// readManifest reads a manifest or an index: exactly one of the first two results is set.
func readManifest(raw []byte) (*v1.Manifest, *v1.IndexManifest, error) {
	// The shape decides, and a document of both shapes is refused: two readers could see two images in it
	// (CVE-2021-41190).
	var shape struct {
		SchemaVersion int             `json:"schemaVersion"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		Config        json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return nil, nil, fmt.Errorf("it begins with %.40q and is no manifest: %w: %w", raw[:min(len(raw), 40)], err,
			ErrUnreadable)
	}
	isIndex, isImage := shape.Manifests != nil, shape.Layers != nil || shape.Config != nil
	switch {
	case shape.SchemaVersion != 2:
		return nil, nil, fmt.Errorf("schema version %d, want 2: %w", shape.SchemaVersion, ErrUnreadable)
	case isIndex && isImage:
		return nil, nil, fmt.Errorf("an image and an index in one: %w", ErrUnsafe)
	case isIndex:
		var index v1.IndexManifest
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, nil, fmt.Errorf("read index: %w: %w", err, ErrUnreadable)
		}
		return nil, &index, nil
	case isImage:
		var m v1.Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, nil, fmt.Errorf("read manifest: %w: %w", err, ErrUnreadable)
		}
		return &m, nil, nil
	}
	return nil, nil, fmt.Errorf("neither an image nor an index: %w", ErrUnreadable)
}

// checkAssets refuses a list that Extract could not hold an image to.
func checkAssets(assets []Asset) error {
	if len(assets) == 0 {
		return fmt.Errorf("annotation %s lists nothing: %w", format.AssetsAnnotation, ErrNoAssets)
	}
	if len(assets) > maxAssets {
		return fmt.Errorf("annotation %s lists %d assets, at most %d are read: %w", format.AssetsAnnotation,
			len(assets), maxAssets, ErrUnsafe)
	}
	for n, a := range assets {
		if !fs.ValidPath(a.Name) || a.Name == "." || len(a.Name) > maxPath ||
			strings.ContainsFunc(a.Name, unprintable) || a.Size < 0 || len(a.SHA256) != 64 ||
			strings.Trim(a.SHA256, "0123456789abcdef") != "" || a.Verity != "" && len(a.Verity) != 64 ||
			strings.Trim(a.Verity, "0123456789abcdef") != "" {
			return fmt.Errorf("annotation %s: asset %q of %d bytes, digest %q, root hash %q: %w", format.AssetsAnnotation,
				a.Name, a.Size, a.SHA256, some([]string{a.Verity}), ErrUnsafe)
		}
		if n > 0 && assets[n-1].Name >= a.Name {
			return fmt.Errorf("annotation %s: %q is twice in it or not in order: %w", format.AssetsAnnotation, a.Name,
				ErrUnsafe)
		}
	}
	return nil
}

// readSmall reads a blob that is kept in memory, verified.
func readSmall(ctx context.Context, s source, d v1.Descriptor) ([]byte, error) {
	for {
		b, err := s.blob(ctx, d)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(newVerifier(b, d))
		b.Close()
		if !elsewhere(b, err) {
			return data, named(err, b)
		}
	}
}

// elsewhere tells that err is of wrong bytes, and that another host can be asked for the blob.
func elsewhere(b body, err error) bool {
	r, remote := b.(*resumer)
	return remote && errors.As(err, new(wrongBytes)) && r.registry.accuse(r, err)
}

// readAtMost reads all of r, and refuses more than limit bytes.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes: %w", limit, ErrUnsafe)
	}
	return data, err
}

// isMissing tells an absent file.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
