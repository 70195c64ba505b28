package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
)

// FuzzLayer: whatever a layer holds, Extract ends, gives only names that stay below the directory of the assets, each
// once, with as many bytes as announced, and at most as many as are allowed.
func FuzzLayer(f *testing.F) {
	sparse, err := os.ReadFile("testdata/sparse.tar")
	require.NoError(f, err)
	good := archive(f, directory("usr/"), asset("vmlinuz", "kernel"), asset("dtb/a", "tree"), asset(".wh.x", ""),
		symlink("bin", "usr/bin"))
	for _, seed := range [][]byte{good, gzipped(f, good), zstandard(f, good), sparse,
		archive(f, special(tar.TypeChar, "usr")), nil} {
		f.Add(seed)
	}
	o := options()
	o.MaxBytes = 1 << 20
	dir, _ := layoutOf(f, stored(good))
	f.Fuzz(func(t *testing.T, data []byte) {
		storeIn(t, dir, stored(data)) // the diff id is wrong for what is packed: then it ends in an error
		got, err := pull("oci:"+dir, o)
		if err == nil {
			require.NotEmpty(t, got)
		}
		total := 0
		for name, content := range got {
			require.Equal(t, path.Clean(name), name)
			require.False(t, strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".."), name)
			total += len(content)
		}
		require.LessOrEqual(t, total, 1<<20)
		require.False(t, errors.Is(err, io.ErrClosedPipe), "%v", err)
	})
}

// FuzzManifest: whatever a manifest says, Open ends in an image or an error.
func FuzzManifest(f *testing.F) {
	dir, _ := layoutOf(f, stored(archive(f, asset("vmlinuz", "kernel"))))
	raw, _ := manifestOf(f, dir)
	f.Add(raw)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:00","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":[{"size":-5}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tagIt(t, dir, "v1", putBlob(t, dir, data, "application/json"))
		got, err := pull("oci:"+dir, options())
		if err == nil {
			require.Equal(t, map[string]string{"vmlinuz": "kernel"}, got)
		} else {
			require.NotErrorIs(t, err, image.ErrUnreachable)
		}
	})
}
