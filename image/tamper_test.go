package image_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// positions are the first byte, the last and one for each percent between.
func positions(size int64) []int64 {
	var out []int64
	last := int64(-1)
	for percent := range int64(101) {
		if p := min(size-1, size*percent/100); p > last {
			out, last = append(out, p), p
		}
	}
	return out
}

// refused fails the test if a pull succeeds.
func refused(t *testing.T, ref, what string) {
	t.Helper()
	i, err := image.Open(context.Background(), ref, options())
	if err == nil {
		err = i.Extract(context.Background(), func(_ image.Asset, r io.Reader) error {
			_, _ = io.Copy(io.Discard, r) // a caller that does not look at errors
			return nil
		}, nil)
	}
	require.Error(t, err, what)
	require.ErrorIs(t, err, image.ErrTampered, what)
}

// One bit turned, or everything cut off, at each position of each blob: always refused, in whatever way the layers are
// packed, and whether from a directory or, for one way of packing, from a registry.
func TestTamperSweep(t *testing.T) {
	for _, c := range []pack.Compression{pack.Zstd, pack.Gzip, pack.None} {
		t.Run(c.String(), func(t *testing.T) {
			dir, _ := packed(t, 6000, c)
			raw, m := manifestOf(t, dir)
			blobs := map[string]v1.Descriptor{"manifest": {Size: int64(len(raw)), Digest: digestOf(raw)},
				"config": m.Config}
			for n, d := range m.Layers {
				blobs[fmt.Sprintf("layer %d", n+1)] = d
			}
			r := serve(t)
			pinned := push(t, r, dir)
			for what, d := range blobs {
				for _, at := range positions(d.Size) {
					name := fmt.Sprintf("%s, byte %d of %d", what, at, d.Size)
					sweepLayout(t, dir, d, at, name+" in the layout")

					if c != pack.Zstd {
						continue
					}
					r.Heal()
					r.Fault(testregistry.Fault{Path: d.Digest.Hex, Tamper: flip(at)})
					refused(t, pinned, name+" from the registry")
				}
			}
		})
	}
}

// sweepLayout turns a bit of a blob on disk, then cuts it short there, and mends it again.
func sweepLayout(t *testing.T, dir string, d v1.Descriptor, at int64, name string) {
	file := filepath.Join(dir, "blobs/sha256", d.Digest.Hex)
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	bad := append([]byte(nil), good...)
	bad[at] ^= 1
	require.NoError(t, os.WriteFile(file, bad, 0o600))
	refused(t, "oci:"+dir, name)
	require.NoError(t, os.WriteFile(file, good[:at], 0o600))
	refused(t, "oci:"+dir, name+", cut off")
	require.NoError(t, os.WriteFile(file, good, 0o600))
}

// flip turns one bit of an answer's body.
func flip(at int64) func(int64, []byte) {
	return func(offset int64, p []byte) {
		if at >= offset && at < offset+int64(len(p)) {
			p[at-offset] ^= 1
		}
	}
}

// A layer swapped for another good one, a manifest for another image's: refused too.
func TestSubstitutedBlobsAreRefused(t *testing.T) {
	dir, _ := packed(t, 6000, pack.Zstd)
	other, _ := packed(t, 6004, pack.Zstd)
	raw, m := manifestOf(t, dir)
	otherRaw, o := manifestOf(t, other)
	path := func(dir string, d v1.Hash) string { return filepath.Join(dir, "blobs/sha256", d.Hex) }
	for name, c := range map[string][2]string{
		"another image's layer":    {path(dir, m.Layers[0].Digest), path(other, o.Layers[0].Digest)},
		"the image's other layer":  {path(dir, m.Layers[0].Digest), path(dir, m.Layers[1].Digest)},
		"another image's config":   {path(dir, m.Config.Digest), path(other, o.Config.Digest)},
		"another image's manifest": {path(dir, digestOf(raw)), path(other, digestOf(otherRaw))},
	} {
		t.Run(name, func(t *testing.T) {
			good, err := os.ReadFile(c[0])
			require.NoError(t, err)
			bad, err := os.ReadFile(c[1])
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(c[0], bad, 0o600))
			defer os.WriteFile(c[0], good, 0o600) // the next case fails if it did
			refused(t, "oci:"+dir, name)
		})
	}
}
