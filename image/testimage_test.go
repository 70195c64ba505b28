package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// entry is one header of a layer with its content.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func directory(name string) entry { return entry{tar.Header{Typeflag: tar.TypeDir, Name: name}, ""} }

func symlink(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}, ""}
}

func special(typeflag byte, name string) entry {
	return entry{tar.Header{Typeflag: typeflag, Name: name, Linkname: "x"}, ""}
}

// asset is a file where assets are looked for.
func asset(name, content string) entry { return file("usr/install/amd64/"+name, content) }

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func zstandard(t testing.TB, data []byte, o ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, o...)
	require.NoError(t, err)
	return w.EncodeAll(data, nil)
}

// spec is an image that no builder of ours would make. The changes are applied to what follows from the layers.
type spec struct {
	layers   [][]byte // as stored, the lowest first
	archives [][]byte // unpacked; nil is layers
	config   func(*v1.ConfigFile)
	manifest func(*v1.Manifest)
}

func stored(archives ...[]byte) spec { return spec{layers: archives} }

func digestOf(data []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// putBlob stores data in a layout.
func putBlob(t testing.TB, dir string, data []byte, mediaType types.MediaType) v1.Descriptor {
	t.Helper()
	d := v1.Descriptor{MediaType: mediaType, Size: int64(len(data)), Digest: digestOf(data)}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs/sha256", d.Digest.Hex), data, 0o600))
	return d
}

func toJSON(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	return data
}

// layoutOf stores an image in a new layout under the tag "v1" and returns the directory and the manifest's descriptor.
func layoutOf(t testing.TB, s spec) (string, v1.Descriptor) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	_, err := pack.Create(dir)
	require.NoError(t, err)
	return dir, storeIn(t, dir, s)
}

// storeIn makes an image the only one that a layout names.
func storeIn(t testing.TB, dir string, s spec) v1.Descriptor {
	t.Helper()
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for n, data := range s.layers {
		m.Layers = append(m.Layers, putBlob(t, dir, data, types.OCILayer)) // whatever it is packed with
		if s.archives != nil {
			data = s.archives[n]
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digestOf(data))
	}
	if s.config != nil {
		s.config(&config)
	}
	m.Config = putBlob(t, dir, toJSON(t, config), types.OCIConfigJSON)
	if s.manifest != nil {
		s.manifest(&m)
	}
	d := putBlob(t, dir, toJSON(t, m), types.OCIManifestSchema1)
	tagIt(t, dir, "v1", d)
	return d
}

// tagIt makes a layout's index.json name one thing.
func tagIt(t testing.TB, dir, tag string, d v1.Descriptor) {
	t.Helper()
	d.Annotations = map[string]string{pack.TagAnnotation: tag}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), toJSON(t, index), 0o600))
}

func serve(t testing.TB) *testregistry.Registry {
	t.Helper()
	r, err := testregistry.Serve("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// push copies the layout's tag v1 to r as os:v1 and returns the pinned reference.
func push(t testing.TB, r *testregistry.Registry, dir string) string {
	t.Helper()
	l, err := pack.Create(dir)
	require.NoError(t, err)
	b, err := l.Find("v1")
	require.NoError(t, err)
	pinned, err := l.Push(context.Background(), b, r.Host()+"/os:v1", pack.PushOptions{Keychain: nobody})
	require.NoError(t, err)
	r.Heal()
	return pinned
}

var nobody = authn.NewMultiKeychain() // not the docker configuration of whoever runs the tests

// options are for amd64, whatever the tests run on, and impatient.
func options() image.Options {
	return image.Options{
		Arch: "amd64", Keychain: nobody,
		Retry: image.Retry{Silence: 2 * time.Second, Attempts: 3, Pause: time.Millisecond},
	}
}

// pull opens and extracts; assets are what Extract gave, whether it then failed or not.
func pull(ref string, o image.Options) (assets map[string]string, err error) {
	i, err := image.Open(context.Background(), ref, o)
	if err != nil {
		return nil, err
	}
	return extract(i, nil)
}

func extract(i *image.Image, progress func(image.Progress)) (map[string]string, error) {
	assets := map[string]string{}
	err := i.Extract(context.Background(), func(a image.Asset, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if old, twice := assets[a.Name]; twice && old == string(data) {
			return fmt.Errorf("%s is given twice", a.Name) // wrong bytes are replaced by others
		}
		assets[a.Name] = string(data)
		if a.Size != int64(len(data)) {
			return fmt.Errorf("%s: %d bytes announced, %d given", a.Name, a.Size, len(data))
		}
		return nil
	}, progress)
	return assets, err
}

// packed is an image by our own builder in a layout, with two assets of so many bytes in all.
func packed(t testing.TB, size int, c pack.Compression) (string, map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := pack.Create(dir)
	require.NoError(t, err)
	want := map[string]string{pack.UKIAsset: string(noise(size * 3 / 4)), pack.LoaderAsset: string(noise(size / 4))}
	b, err := l.Add(context.Background(), pack.Image{Version: "1.2.3", Arch: "amd64", Compression: c,
		Assets: []pack.Asset{
			pack.Data(pack.UKIAsset, []byte(want[pack.UKIAsset])),
			pack.Data(pack.LoaderAsset, []byte(want[pack.LoaderAsset])),
		}})
	require.NoError(t, err)
	require.NoError(t, l.Tag("v1", b))
	return dir, want
}

// noise is bytes that pack a little: each is one of 64.
func noise(n int) []byte {
	out := make([]byte, n)
	state := uint32(n)*2654435761 + 1
	for i := range out {
		state = state*1664525 + 1013904223
		out[i] = ' ' + byte(state>>26)
	}
	return out
}
