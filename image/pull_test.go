package image_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/testregistry"
)

// blobBytes is how many bytes of layers the registry sent: what is larger than a config.
func blobBytes(r *testregistry.Registry) int64 {
	var sum int64
	for _, q := range r.Requests() {
		if strings.Contains(q.Path, "/blobs/") && q.Bytes > 4096 {
			sum += q.Bytes
		}
	}
	return sum
}

func TestLayersOfAssetsThatAreNotWantedAreNotFetched(t *testing.T) {
	dir, want := packed(t, 200<<10, pack.None)
	r := serve(t)
	i, err := image.Open(context.Background(), push(t, r, dir), options())
	require.NoError(t, err)
	r.Heal()
	got := map[string]string{}
	o := image.PullOptions{Want: func(a image.Asset) bool { return a.Name == pack.LoaderAsset }}
	require.NoError(t, i.Pull(context.Background(), o, func(a image.Asset, in io.Reader) error {
		data, err := io.ReadAll(in)
		got[a.Name] = string(data)
		return err
	}))
	require.Equal(t, map[string]string{pack.LoaderAsset: want[pack.LoaderAsset]}, got)
	require.Less(t, blobBytes(r), int64(60<<10), "the other layer has 150 KiB")
}

func TestADownloadIsTakenUpAtAnyFrame(t *testing.T) {
	const frame = 1 << 20
	for _, c := range []pack.Compression{pack.Zstd, pack.Gzip, pack.None} {
		t.Run(c.String(), func(t *testing.T) {
			dir, want := packed(t, 5<<20, c) // the UKI has 3.75 MiB
			r := serve(t)
			i, err := image.Open(context.Background(), push(t, r, dir), options())
			require.NoError(t, err)
			content := want[pack.UKIAsset]
			for _, from := range []int64{frame, 3 * frame, int64(len(content))} {
				r.Heal()
				o := image.PullOptions{
					Want: func(a image.Asset) bool { return a.Name == pack.UKIAsset },
					From: func(image.Asset) int64 { return from },
				}
				var got []byte
				require.NoError(t, i.Pull(context.Background(), o, func(_ image.Asset, in io.Reader) error {
					got, err = io.ReadAll(in)
					return err
				}))
				require.Equal(t, content[from:], string(got))
				require.LessOrEqual(t, blobBytes(r), int64(len(content))-from+1024)
			}
			o := image.PullOptions{From: func(image.Asset) int64 { return 5 }}
			err = i.Pull(context.Background(), o, func(image.Asset, io.Reader) error { return nil })
			require.ErrorContains(t, err, "cannot be taken up at byte 5")
		})
	}
}

// A part of a layer has no digest of its own: each frame is held to its own.
func TestAFrameWithOtherBytesIsRefused(t *testing.T) {
	for _, c := range []pack.Compression{pack.Zstd, pack.Gzip, pack.None} {
		dir, _ := packed(t, 5<<20, c)
		r := serve(t)
		i, err := image.Open(context.Background(), push(t, r, dir), options())
		require.NoError(t, err)
		for _, at := range []int64{0, 1000, 500_000, 1_000_000} {
			r.Heal()
			r.Fault(testregistry.Fault{Path: "/blobs/", Tamper: func(offset int64, p []byte) {
				if at >= offset && at < offset+int64(len(p)) {
					p[at-offset] ^= 1
				}
			}})
			o := image.PullOptions{
				Want: func(a image.Asset) bool { return a.Name == pack.UKIAsset },
				From: func(image.Asset) int64 { return 1 << 20 },
			}
			err := i.Pull(context.Background(), o, func(_ image.Asset, in io.Reader) error {
				_, err := io.Copy(io.Discard, in)
				return err
			})
			require.Error(t, err, "%s, byte %d", c, at)
			require.True(t, strings.Contains(err.Error(), "digest") || strings.Contains(err.Error(), "unpack") ||
				strings.Contains(err.Error(), "early"), "%v", err)
		}
	}
}

func TestHeld(t *testing.T) {
	dir, want := packed(t, 5<<20, pack.Zstd)
	i, err := image.Open(context.Background(), "oci:"+dir+":v1", options())
	require.NoError(t, err)
	uki := i.Assets[1]
	require.Equal(t, pack.UKIAsset, uki.Name)
	require.True(t, i.Resumable(uki))
	content := []byte(want[pack.UKIAsset])
	held := func() int64 { return i.Held(context.Background(), uki, bytes.NewReader(content)) }
	require.EqualValues(t, len(content), held())
	content[2<<20+7] ^= 1
	require.EqualValues(t, 2<<20, held())
	content[0] ^= 1
	require.Zero(t, held())
	require.Zero(t, i.Held(context.Background(), uki, bytes.NewReader(nil)))
}

// Content that is stored as it is may begin like something packed, wherever a frame begins.
func TestStoredContentThatLooksPackedIsTakenUp(t *testing.T) {
	for _, magic := range []string{"\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "BZh9", "\xfd7zXZ"} {
		dir := filepath.Join(t.TempDir(), "layout")
		l, err := pack.Create(dir)
		require.NoError(t, err)
		data := noise(3<<20 + 100)
		copy(data[1<<20:], magic)
		b, err := l.Add(t.Context(), pack.Image{Version: "1", Arch: "amd64", Compression: pack.None,
			Assets: []pack.Asset{pack.Data("vmlinuz.efi", data)}})
		require.NoError(t, err)
		require.NoError(t, l.Tag("v1", b))
		i, err := image.Open(t.Context(), "oci:"+dir, options())
		require.NoError(t, err)
		held := i.Held(t.Context(), i.Assets[0], bytes.NewReader(data[:1<<20]))
		require.EqualValues(t, 1<<20, held)
		var got []byte
		err = i.Pull(t.Context(), image.PullOptions{From: func(image.Asset) int64 { return held }},
			func(a image.Asset, r io.Reader) error {
				got, err = io.ReadAll(r)
				return err
			})
		require.NoError(t, err)
		require.True(t, bytes.Equal(got, data[held:]))
	}
}
