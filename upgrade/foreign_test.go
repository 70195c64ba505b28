package upgrade_test

import (
	"archive/tar"
	"bytes"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
)

// entry is a header of a foreign layer, with its content.
type entry struct {
	tar.Header
	content []byte
}

func file(name string, content []byte) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

// unified is a UKI around that os-release.
func unified(t *testing.T, release string) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := uki.Assemble(&out, io.NewSectionReader(bytes.NewReader(loadertest.Stub()), 0,
		int64(len(loadertest.Stub()))),
		uki.Bytes(uki.OSRelease, []byte(release)), uki.Bytes(uki.Cmdline, []byte("panic=1")),
		uki.Bytes(uki.Linux, []byte("kernel")))
	require.NoError(t, err)
	return out.Bytes()
}

// foreign is an image that another program built of such layers, the lowest first. It states nothing.
func (r *rig) foreign(layers ...[]entry) *image.Image {
	r.t.Helper()
	img := empty.Image
	for _, entries := range layers {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, e := range entries {
			require.NoError(r.t, w.WriteHeader(&e.Header))
			_, err := w.Write(e.content)
			require.NoError(r.t, err)
		}
		require.NoError(r.t, w.Close())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser,
			error) {
			return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
		})
		require.NoError(r.t, err)
		img, err = mutate.AppendLayers(img, layer)
		require.NoError(r.t, err)
	}
	config, err := img.ConfigFile()
	require.NoError(r.t, err)
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	require.NoError(r.t, err)
	dir := filepath.Join(r.t.TempDir(), "foreign")
	to, err := layout.Write(dir, empty.Index)
	require.NoError(r.t, err)
	require.NoError(r.t, to.AppendImage(img))
	opened, err := image.Open(r.t.Context(), "oci:"+dir, image.Options{Arch: "amd64"})
	require.NoError(r.t, err)
	return opened
}
