package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pawl-os/pawl/image/format"
)

// directory is the root of a file system that an installer image was unpacked to, such as "/" inside of its container.
// It is presented as an image with one layer, not packed, for each file under usr/install/<arch>/. So it has a digest
// like any other, which is the same for the same files, and Extract notices a file that changes after Open.
type directory struct {
	dir, arch string
	files     map[v1.Hash]Asset // by the digest of the layer
	config    []byte
}

func parseDirectory(rest string, o Options) (source, error) {
	if rest == "" {
		return nil, errors.New("no path given")
	}
	return &directory{dir: rest, arch: o.Arch, files: map[v1.Hash]Asset{}}, nil
}

func (d *directory) base() string { return format.Dir(d.arch) }

// root reads all files to make the manifest.
func (d *directory) root(ctx context.Context) ([]byte, v1.Hash, error) {
	assets, err := d.list()
	if err != nil {
		return nil, v1.Hash{}, err
	}
	config := v1.ConfigFile{OS: "linux", Architecture: d.arch, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for n := range assets {
		layer, err := d.describe(ctx, &assets[n])
		if err != nil {
			return nil, v1.Hash{}, err
		}
		m.Layers = append(m.Layers, layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	}
	list, err := json.Marshal(assets)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	m.Annotations = map[string]string{format.AssetsAnnotation: string(list)}
	if d.config, err = json.Marshal(config); err != nil {
		return nil, v1.Hash{}, err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(d.config))
	if err != nil {
		return nil, v1.Hash{}, err
	}
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: size, Digest: digest}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	digest, _, err = v1.SHA256(bytes.NewReader(raw))
	return raw, digest, err
}

// list finds the files, in order. Anything but files and directories is refused.
func (d *directory) list() ([]Asset, error) {
	var assets []Asset
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), d.base(), func(name string, e fs.DirEntry, err error) error {
		switch {
		case isMissing(err) && name == d.base():
			return fmt.Errorf("%s has no %s: %w", d.dir, d.base(), ErrNoAssets)
		case err != nil || e.IsDir():
			return err
		case !e.Type().IsRegular():
			return fmt.Errorf("/%s is no regular file: %w", name, ErrUnsafe)
		case len(assets) >= maxLayers:
			return fmt.Errorf("more than %d files under %s: %w", maxLayers, d.base(), ErrUnsafe)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		assets = append(assets, Asset{Name: strings.TrimPrefix(name, d.base()+"/"), Size: info.Size()})
		return nil
	})
	if err == nil && len(assets) == 0 {
		err = fmt.Errorf("%s/%s is empty: %w", d.dir, d.base(), ErrNoAssets)
	}
	slices.SortFunc(assets, func(a, b Asset) int {
		return strings.Compare(a.Name,
			b.Name)
	}) // the walk's order differs: "a/b" before "a-b"
	return assets, err
}

// describe hashes a file, by itself and as a layer.
func (d *directory) describe(ctx context.Context, a *Asset) (v1.Descriptor, error) {
	b, err := d.open(*a)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer b.Close()
	content, layer := sha256.New(), sha256.New()
	archive := tar.NewReader(io.TeeReader(&cancellable{ctx, b}, layer))
	if _, err := archive.Next(); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read %s: %w", a.Name, err)
	}
	if n, err := io.Copy(content, archive); err != nil || n != a.Size {
		return v1.Descriptor{}, fmt.Errorf("read %s: %w; did it change?", a.Name, errors.Join(err, io.ErrUnexpectedEOF))
	}
	if _, err := archive.Next(); err != io.EOF {
		return v1.Descriptor{}, fmt.Errorf("read %s: %w", a.Name, err)
	}
	if _, err := io.Copy(layer, b); err != nil {
		return v1.Descriptor{}, fmt.Errorf("read %s: %w", a.Name, err)
	}
	a.SHA256 = fmt.Sprintf("%x", content.Sum(nil))
	h := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", layer.Sum(nil))}
	d.files[h] = *a
	return v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: layerSize(a.Size), Digest: h}, nil
}

// layerSize is the size of an archive of one file: a header, the content in blocks of 512 bytes, two blocks of zeros.
func layerSize(size int64) int64 { return 512 + (size+511)/512*512 + 1024 }

// open is an archive of one file.
func (d *directory) open(a Asset) (body, error) {
	var header bytes.Buffer
	err := tar.NewWriter(&header).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Join(d.base(), a.Name), Mode: 0o644, Size: a.Size, Format: tar.FormatUSTAR,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name, err)
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := openFile(root, path.Join(d.base(), a.Name))
	if err != nil {
		return nil, err
	}
	padding := make([]byte, layerSize(a.Size)-512-a.Size)
	return localBody{struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&header, f, bytes.NewReader(padding)), f}}, nil
}

func (d *directory) manifest(context.Context, v1.Descriptor) ([]byte, error) {
	return nil, fmt.Errorf("%s has no manifests: %w", d.dir, ErrNotFound)
}

func (d *directory) blob(ctx context.Context, b v1.Descriptor) (body, error) {
	if a, found := d.files[b.Digest]; found {
		opened, err := d.open(a)
		return ending(ctx, opened, err)
	}
	return localBody{io.NopCloser(bytes.NewReader(d.config))}, nil
}
