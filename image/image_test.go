package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

func TestTheSameImageComesFromEverySource(t *testing.T) {
	for _, c := range []pack.Compression{pack.Zstd, pack.Gzip, pack.None} {
		t.Run(c.String(), func(t *testing.T) {
			dir, want := packed(t, 3<<20, c)
			r := serve(t)
			pinned := push(t, r, dir)
			digest := pinned[len(r.Host()+"/os@"):]
			for _, ref := range []string{"oci:" + dir, "oci:" + dir + ":v1", "oci:" + dir + "@" + digest,
				r.Host() + "/os:v1", pinned, r.Host() + "/os:v1@" + digest} {
				i, err := image.Open(context.Background(), ref, options())
				require.NoError(t, err)
				require.Equal(t, digest, i.Digest)
				require.Equal(t, digest, i.PlatformDigest)
				require.Equal(t, "1.2.3", i.Version)
				require.Len(t, i.Assets, 2)
				var last image.Progress
				got, err := extract(i, func(p image.Progress) { last = p })
				require.NoError(t, err, ref)
				require.Equal(t, want, got)
				require.Positive(t, last.LayerTotal)
				require.Less(t, last.LayerTotal, i.Size)
				require.Equal(t, image.Progress{
					Layer: 2, Layers: 2, Fetched: i.Size, Total: i.Size, OfLayer: last.LayerTotal,
					LayerTotal: last.LayerTotal,
				}, last)
			}
		})
	}
}

func TestATagIsResolvedOnce(t *testing.T) {
	dir, want := packed(t, 1000, pack.Zstd)
	r := serve(t)
	push(t, r, dir)
	i, err := image.Open(context.Background(), r.Host()+"/os:v1", options())
	require.NoError(t, err)
	other, _ := packed(t, 2000, pack.Zstd)
	push(t, r, other)
	got, err := extract(i, nil)
	require.NoError(t, err)
	require.Equal(t, want, got, "the tag moved in between")
	for _, request := range r.Requests() {
		require.NotContains(t, request.Path, "manifests/v1")
	}
}

func TestAnIndexGivesTheImageOfTheArchitecture(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := pack.Create(dir)
	require.NoError(t, err)
	var built []pack.Built
	for _, arch := range []string{"arm64", "amd64"} {
		b, err := l.Add(context.Background(), pack.Image{Version: "1", Arch: arch,
			Assets: []pack.Asset{pack.Data("vmlinuz", []byte(arch))}})
		require.NoError(t, err)
		built = append(built, b)
	}
	index, err := l.Index(built...)
	require.NoError(t, err)
	require.NoError(t, l.Tag("v1", index))
	r := serve(t)
	push(t, r, dir)
	for _, ref := range []string{"oci:" + dir, r.Host() + "/os:v1"} {
		for n, arch := range []string{"arm64", "amd64"} {
			o := options()
			o.Arch = arch
			i, err := image.Open(context.Background(), ref, o)
			require.NoError(t, err)
			require.Equal(t, index.Digest, i.Digest)
			require.Equal(t, built[n].Digest, i.PlatformDigest)
			got, err := extract(i, nil)
			require.NoError(t, err)
			require.Equal(t, map[string]string{"vmlinuz": arch}, got)
		}
		o := options()
		o.Arch = "riscv64"
		_, err = image.Open(context.Background(), ref, o)
		require.ErrorIs(t, err, image.ErrPlatform)
		require.ErrorContains(t, err, "linux/arm64, linux/amd64")
	}
}

func TestImagesOfOthersWork(t *testing.T) {
	plain := archive(t, directory("etc/"), file("etc/passwd", "root"), symlink("bin", "usr/bin"),
		asset("vmlinuz", "kernel"))
	long := append(bytes.Clone(plain), make([]byte, 10<<20)...)
	for name, s := range map[string]spec{
		"gzip":   {layers: [][]byte{gzipped(t, plain)}, archives: [][]byte{plain}},
		"zstd":   {layers: [][]byte{zstandard(t, plain)}, archives: [][]byte{plain}},
		"stored": stored(plain),
		"two gzip members": {layers: [][]byte{append(gzipped(t, plain[:700]), gzipped(t, plain[700:])...)},
			archives: [][]byte{plain}},
		"two zstd frames": {layers: [][]byte{append(zstandard(t, plain[:700]), zstandard(t, plain[700:])...)},
			archives: [][]byte{plain}},
		"skippable frame first": {layers: [][]byte{append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"),
			zstandard(t, plain)...)}, archives: [][]byte{plain}},
		"a layer without assets": stored(archive(t, file("etc/motd", "x")), plain, archive(t)),
		"dots and slashes": stored(archive(t, directory("./"), directory("./usr"),
			file("/usr/./install//amd64/vmlinuz", "kernel"))),
		"bytes behind the end": stored(append(bytes.Clone(plain), make([]byte, 10240)...)),
		"many of them, packed": {layers: [][]byte{gzipped(t, long)}, archives: [][]byte{long}},
		"version as a label": {layers: [][]byte{plain}, config: func(c *v1.ConfigFile) {
			c.Config.Labels = map[string]string{pack.VersionAnnotation: "7"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := layoutOf(t, s)
			i, err := image.Open(context.Background(), "oci:"+dir, options())
			require.NoError(t, err)
			require.Nil(t, i.Assets)
			require.Equal(t, map[bool]string{true: "7"}[s.config != nil], i.Version)
			got, err := extract(i, nil)
			require.NoError(t, err)
			require.Equal(t, map[string]string{"vmlinuz": "kernel"}, got)
		})
	}
}

func TestLayersBelowTheLastListedAssetAreNotFetched(t *testing.T) {
	dir, want := packed(t, 2000, pack.Zstd)
	_, m := manifestOf(t, dir)
	below := archive(t, file("big", string(noise(5000))))
	m.Layers = append([]v1.Descriptor{putBlob(t, dir, below, types.OCILayer)}, m.Layers...)
	config := configOf(t, dir, m)
	config.RootFS.DiffIDs = append([]v1.Hash{digestOf(below)}, config.RootFS.DiffIDs...)
	m.Config = putBlob(t, dir, toJSON(t, config), types.OCIConfigJSON)
	tagIt(t, dir, "v1", putBlob(t, dir, toJSON(t, m), types.OCIManifestSchema1))
	require.NoError(t, os.Remove(filepath.Join(dir, "blobs/sha256", digestOf(below).Hex)))

	i, err := image.Open(context.Background(), "oci:"+dir, options())
	require.NoError(t, err)
	var last image.Progress
	got, err := extract(i, func(p image.Progress) { last = p })
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, i.Size-int64(len(below)), last.Total)
	require.Equal(t, last.Total, last.Fetched)
}

func TestWhatIsNotThereIsNamed(t *testing.T) {
	dir, _ := packed(t, 1000, pack.Zstd)
	r := serve(t)
	pinned := push(t, r, dir)
	none := pinned[:len(pinned)-4] + "0000"
	for _, c := range []struct{ name, ref, says string }{
		{"no such tag in the layout", "oci:" + dir + ":v9", "the layout has the tags v1"},
		{"no such digest in the layout", "oci:" + dir + none[len(r.Host()+"/os"):], "no such file"},
		{"no such directory", "oci:/nonexistent:v1", "no OCI layout"},
		{"no such tag in the registry", r.Host() + "/os:v9", "it has no image v9 in os; check name and tag"},
		{"no such repository", r.Host() + "/other:v1", "it has no image v1 in other"},
		{"no such digest in the registry", none, "it has no image sha256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := pull(c.ref, options())
			require.ErrorIs(t, err, image.ErrNotFound)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "open image "+c.ref)
		})
	}
	for _, ref := range []string{"", "os", "os:v1", "host/os", "oci:", "oci:dir:", "host/os:v1@sha256:12",
		"oci:dir@sha256:12"} {
		t.Run("malformed "+ref, func(t *testing.T) {
			_, err := image.Open(context.Background(), ref, options())
			require.ErrorContains(t, err, "parse reference")
		})
	}
}

func TestSeveralEntriesNeedATag(t *testing.T) {
	dir, _ := packed(t, 1000, pack.Zstd)
	l, err := pack.Create(dir)
	require.NoError(t, err)
	b, err := l.Find("v1")
	require.NoError(t, err)
	require.NoError(t, l.Tag("v2", b))
	_, err = pull("oci:"+dir, options())
	require.ErrorIs(t, err, image.ErrNotFound)
	require.ErrorContains(t, err, "the tags v1, v2: name one as oci:"+dir+":TAG")
}

func TestWrongImagesAreRefusedByName(t *testing.T) {
	good := archive(t, asset("vmlinuz", "kernel"))
	list := func(json string) func(*v1.Manifest) {
		return func(m *v1.Manifest) { m.Annotations = map[string]string{pack.AssetsAnnotation: json} }
	}
	listed := func(name string, size int, digest v1.Hash) func(*v1.Manifest) {
		return list(fmt.Sprintf(`[{"name":%q,"size":%d,"sha256":%q}]`, name, size, digest.Hex))
	}
	kernel := digestOf([]byte("kernel"))
	for _, c := range []struct {
		name string
		spec spec
		is   error
		says string
	}{
		{"another architecture", spec{layers: [][]byte{good},
			config: func(c *v1.ConfigFile) { c.Architecture = "arm64" }}, image.ErrPlatform,
			"linux/arm64, linux/amd64 is wanted"},
		{"another system", spec{layers: [][]byte{good}, config: func(c *v1.ConfigFile) { c.OS = "windows" }},
			image.ErrPlatform, "windows/amd64"},
		{"no layers", stored(), image.ErrNoAssets, "is it an installer image"},
		{"no assets", stored(archive(t, file("etc/motd", "x"))), image.ErrNoAssets, "is it an installer image"},
		{"assets of another architecture", stored(archive(t, file("usr/install/arm64/vmlinuz", "x"))),
			image.ErrNoAssets, "/usr/install/amd64"},
		{"another diff id", spec{layers: [][]byte{good}, archives: [][]byte{[]byte("x")}}, image.ErrTampered,
			"the config says"},
		{"a diff id too few", spec{layers: [][]byte{good}, config: func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }},
			image.ErrTampered, "0 diff ids for 1 layers"},
		{"a size too small", spec{layers: [][]byte{good}, manifest: func(m *v1.Manifest) { m.Layers[0].Size-- }},
			image.ErrTampered, "longer than"},
		{"a size too large", spec{layers: [][]byte{good}, manifest: func(m *v1.Manifest) { m.Layers[0].Size++ }},
			image.ErrTampered, "ended after"},
		{"a negative size", spec{layers: [][]byte{good}, manifest: func(m *v1.Manifest) { m.Layers[0].Size = -1 }},
			image.ErrUnsafe, "limit"},
		{"an absurd size", spec{layers: [][]byte{good}, manifest: func(m *v1.Manifest) { m.Layers[0].Size = 1 << 62 }},
			image.ErrUnsafe, "limit"},
		{"an absurd config", spec{layers: [][]byte{good}, manifest: func(m *v1.Manifest) { m.Config.Size = 1 << 40 }},
			image.ErrUnsafe, "config of"},
		{"a config that is another blob", spec{layers: [][]byte{good},
			manifest: func(m *v1.Manifest) { m.Config = m.Layers[0] }}, nil, "config sha256"},
		{"packed with xz", stored([]byte("\xfd7zXZ\x00 and so on")), nil, "pack it with zstd or gzip"},
		{"no archive", stored(bytes.Repeat([]byte("text"), 500)), nil, "tar"},
		{"an archive cut short", stored(good[:515]), nil, "unexpected EOF"},
		{"gzip cut short", spec{layers: [][]byte{gzipped(t, good)[:60]}, archives: [][]byte{good}}, nil,
			"unexpected EOF"},
		{"a listed asset of another size", spec{layers: [][]byte{good}, manifest: listed("vmlinuz", 5, kernel)},
			image.ErrTampered, "has 6 bytes"},
		{"a listed asset of another digest", spec{layers: [][]byte{good}, manifest: listed("vmlinuz", 6,
			digestOf(nil))}, image.ErrTampered, "has digest"},
		{"an asset that is not listed", spec{layers: [][]byte{good}, manifest: listed("initrd", 6, kernel)},
			image.ErrTampered, "vmlinuz is not listed"},
		{"a listed asset that is missing", spec{layers: [][]byte{archive(t)}, manifest: listed("vmlinuz", 6, kernel)},
			image.ErrTampered, "in no layer"},
		{"an empty list", spec{layers: [][]byte{good}, manifest: list("[]")}, image.ErrNoAssets, "lists nothing"},
		{"a list that is none", spec{layers: [][]byte{good}, manifest: list("{")}, nil, pack.AssetsAnnotation},
		{"a listed path that climbs", spec{layers: [][]byte{good}, manifest: listed("../vmlinuz", 6, kernel)},
			image.ErrUnsafe, "../vmlinuz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := layoutOf(t, c.spec)
			_, err := pull("oci:"+dir, options())
			require.ErrorContains(t, err, c.says)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
		})
	}
}

func TestUnsafeLayersAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []entry
		says    string
	}{
		{"a path that climbs", []entry{file("usr/install/amd64/../../../etc/passwd", "x")}, "climbs"},
		{"a path that climbs elsewhere", []entry{asset("vmlinuz", "x"), file("../x", "x")}, "climbs"},
		{"a symbolic link for an asset", []entry{symlink("usr/install/amd64/vmlinuz", "/etc/shadow")}, "symbolic link"},
		{"a hard link for an asset", []entry{file("x", "x"), special(tar.TypeLink, "usr/install/amd64/vmlinuz")},
			"hard link"},
		{"a device for an asset", []entry{special(tar.TypeBlock, "usr/install/amd64/vmlinuz")}, "a device"},
		{"a pipe for an asset", []entry{special(tar.TypeFifo, "usr/install/amd64/vmlinuz")}, "a pipe"},
		{"a symbolic link for a parent", []entry{symlink("usr/install", "../opt"), file("opt/amd64/vmlinuz", "x")},
			"/usr/install is a symbolic link"},
		{"a file for a parent", []entry{file("usr/install/amd64", "x")}, "want a directory"},
		{"an asset twice", []entry{asset("vmlinuz", "x"), file("./usr/install/amd64/vmlinuz", "y")},
			"twice in one layer"},
		{"an escape", []entry{asset("a\x1b[2J", "x")}, "cannot be printed"},
		{"Latin-1", []entry{asset("a\xe9", "x")}, "cannot be printed"},
		{"a file that is a directory", []entry{asset("x", "x"), asset("x/y", "y")}, "a file and a directory"},
		{"a directory that is a file", []entry{asset("x/y", "y"), asset("x", "x")}, "twice in one layer"},
		{"a backslash", []entry{asset(`..\vmlinuz`, "x")}, "backslash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := layoutOf(t, stored(archive(t, c.entries...)))
			_, err := pull("oci:"+dir, options())
			require.ErrorIs(t, err, image.ErrUnsafe)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestBombsAreRefused(t *testing.T) {
	bomb := archive(t, asset("vmlinuz", "x"), file("zeros", string(make([]byte, 4<<20))))
	o := options()
	o.MaxBytes = 1 << 20
	for name, data := range map[string][]byte{"gzip": gzipped(t, bomb), "zstd": zstandard(t, bomb)} {
		t.Run(name, func(t *testing.T) {
			require.Less(t, len(data), 100000)
			dir, _ := layoutOf(t, spec{layers: [][]byte{data}, archives: [][]byte{bomb}})
			_, err := pull("oci:"+dir, o)
			require.ErrorIs(t, err, image.ErrUnsafe)
			require.ErrorContains(t, err, "unpacks to more than is allowed")
		})
	}
	t.Run("zstd with a window of 64 MiB", func(t *testing.T) {
		var data bytes.Buffer
		w, err := zstd.NewWriter(&data, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
		require.NoError(t, err)
		_, err = w.Write(bomb)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		require.NoError(t, w.Close())
		dir, _ := layoutOf(t, spec{layers: [][]byte{data.Bytes()}, archives: [][]byte{bomb}})
		_, err = pull("oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrUnsafe)
		require.ErrorContains(t, err, "--long")
	})
	t.Run("a file of holes", func(t *testing.T) {
		// PAX 1.0 sparse: a map of nothing, and 1 TiB that are not stored.
		data, err := os.ReadFile("testdata/sparse.tar")
		require.NoError(t, err)
		dir, _ := layoutOf(t, stored(data))
		_, err = pull("oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrUnsafe)
		require.ErrorContains(t, err, "all assets may have")
	})
}

func TestAManifestOfTwoShapesIsRefused(t *testing.T) {
	dir, _ := packed(t, 1000, pack.Zstd)
	raw, _ := manifestOf(t, dir)
	both := append([]byte(`{"manifests":[],`), raw[1:]...)
	tagIt(t, dir, "v1", putBlob(t, dir, both, types.OCIManifestSchema1))
	_, err := pull("oci:"+dir, options())
	require.ErrorIs(t, err, image.ErrUnsafe)
}

func TestWhatWriteReturnsComesBack(t *testing.T) {
	dir, _ := packed(t, 1<<20, pack.Zstd)
	i, err := image.Open(context.Background(), "oci:"+dir, options())
	require.NoError(t, err)
	full := errors.New("the target is full")
	err = i.Extract(context.Background(), func(image.Asset, io.Reader) error { return full }, nil)
	require.ErrorIs(t, err, full)
	require.ErrorContains(t, err, pack.LoaderAsset)
	require.NoError(t, i.Extract(context.Background(), func(image.Asset, io.Reader) error { return nil }, nil),
		"what is left unread is skipped, and verified")

	ctx, cancel := context.WithCancel(context.Background())
	err = i.Extract(ctx, func(image.Asset, io.Reader) error { cancel(); return nil }, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// A variant may need what the machine does not have; the one for all machines is taken, wherever it stands.
func TestTheVariantForAllMachinesIsTaken(t *testing.T) {
	dir, base := layoutOf(t, stored(archive(t, asset("vmlinuz.efi", "for all"))))
	v3 := storeIn(t, dir, stored(archive(t, asset("vmlinuz.efi", "for v3"))))
	v3.Platform = &v1.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}
	for _, variant := range []string{"", "v1", "v2"} {
		base.Platform = &v1.Platform{OS: "linux", Architecture: "amd64", Variant: variant}
		d := putBlob(t, dir, toJSON(t, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex,
			Manifests: []v1.Descriptor{v3, base}}), types.OCIImageIndex)
		tagIt(t, dir, "v1", d)
		got, err := pull("oci:"+dir, options())
		require.NoError(t, err)
		want := "for all"
		if variant == "v2" {
			want = "for v3" // the first
		}
		require.Equal(t, map[string]string{"vmlinuz.efi": want}, got)
	}
}
