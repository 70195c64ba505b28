package pack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image/pack"
)

func sample() pack.Image {
	return pack.Image{
		Version: "1.2.3", Arch: "amd64",
		Assets: []pack.Asset{
			pack.Data(pack.UKIAsset, bytes.Repeat([]byte("kernel "), 5000)),
			pack.Data(pack.LoaderAsset, []byte("loader")),
			pack.Data("dtb/board.dtb", []byte("tree")),
		},
	}
}

func create(t testing.TB) *pack.Layout {
	t.Helper()
	l, err := pack.Create(filepath.Join(t.TempDir(), "layout"))
	require.NoError(t, err)
	return l
}

func add(t testing.TB, l *pack.Layout, i pack.Image, tag string) pack.Built {
	t.Helper()
	b, err := l.Add(context.Background(), i)
	require.NoError(t, err)
	require.NoError(t, l.Tag(tag, b))
	return b
}

// files lists a directory with the digests of its files.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	}))
	return found
}

func TestAnotherLibraryAcceptsAndReadsTheImage(t *testing.T) {
	for _, c := range []pack.Compression{pack.Zstd, pack.Gzip, pack.None} {
		t.Run(c.String(), func(t *testing.T) {
			i := sample()
			i.Compression = c
			i.Created = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
			i.Annotations = map[string]string{"org.example.extra": "kept"}
			l := create(t)
			b := add(t, l, i, "v1")

			digest, err := v1.NewHash(b.Digest)
			require.NoError(t, err)
			img, err := layout.Path(l.Dir()).Image(digest)
			require.NoError(t, err)
			if c == pack.Gzip { // its validator unpacks no other
				require.NoError(t, validate.Image(img))
			}

			m, err := img.Manifest()
			require.NoError(t, err)
			require.Equal(t, "1.2.3", m.Annotations[pack.VersionAnnotation])
			require.Equal(t, "2026-01-02T03:04:05Z", m.Annotations[pack.CreatedAnnotation])
			require.Equal(t, "kept", m.Annotations["org.example.extra"])
			require.Equal(t, []string{"dtb/board.dtb", pack.LoaderAsset, pack.UKIAsset}, checkAssets(t, img, m, i))
		})
	}
}

// checkAssets unpacks the layers and compares each asset with what went in and with the annotation; it returns the
// annotation's names.
func checkAssets(t *testing.T, img v1.Image, m *v1.Manifest, i pack.Image) []string {
	layers, err := img.Layers()
	require.NoError(t, err)
	got := map[string][]byte{}
	for _, layer := range layers {
		r, err := layer.Uncompressed()
		require.NoError(t, err)
		archive := tar.NewReader(r)
		for {
			h, err := archive.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if h.Typeflag == tar.TypeReg {
				got[h.Name], err = io.ReadAll(archive)
				require.NoError(t, err)
			}
		}
	}
	require.Len(t, got, len(i.Assets))
	sums := map[string]string{}
	for _, a := range i.Assets {
		var want bytes.Buffer
		require.NoError(t, a.Write(&want))
		require.Equal(t, want.Bytes(), got["usr/install/"+i.Arch+"/"+a.Name])
		sums[a.Name] = fmt.Sprintf("%x", sha256.Sum256(want.Bytes()))
	}
	var listed []struct {
		Name   string
		Size   int64
		SHA256 string
	}
	require.NoError(t, json.Unmarshal([]byte(m.Annotations[pack.AssetsAnnotation]), &listed))
	var names []string
	for _, a := range listed {
		require.Equal(t, sums[a.Name], a.SHA256)
		require.EqualValues(t, len(got["usr/install/"+i.Arch+"/"+a.Name]), a.Size)
		names = append(names, a.Name)
	}
	return names
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	one, two := create(t), create(t)
	for _, l := range []*pack.Layout{one, two} {
		add(t, l, sample(), "v1")
	}
	require.Equal(t, files(t, one.Dir()), files(t, two.Dir()))

	later := sample()
	later.Created = time.Unix(1, 0)
	require.NotEqual(t, add(t, one, sample(), "v1").Digest, add(t, two, later, "v1").Digest)
}

func TestAnAssetThatIsNotAsLongAsItSaysLeavesNothing(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"shorter": func(w io.Writer) error { _, err := w.Write([]byte("123")); return err },
		"longer":  func(w io.Writer) error { _, err := w.Write([]byte("12345")); return err },
		"fails":   func(io.Writer) error { return errors.New("no luck") },
	} {
		t.Run(name, func(t *testing.T) {
			l := create(t)
			before := files(t, l.Dir())
			i := sample()
			i.Assets = []pack.Asset{{Name: "vmlinuz", Size: 4, Write: write}}
			_, err := l.Add(context.Background(), i)
			require.ErrorContains(t, err, "asset vmlinuz")
			require.Equal(t, before, files(t, l.Dir()))
		})
	}
}

func TestImagesThatCouldNotBeReadBackAreRefused(t *testing.T) {
	for name, change := range map[string]func(*pack.Image){
		"no version":           func(i *pack.Image) { i.Version = "" },
		"no architecture":      func(i *pack.Image) { i.Arch = "" },
		"a path as arch":       func(i *pack.Image) { i.Arch = "../x" },
		"no assets":            func(i *pack.Image) { i.Assets = nil },
		"an empty asset":       func(i *pack.Image) { i.Assets[0].Size = 0 },
		"a name that climbs":   func(i *pack.Image) { i.Assets[0].Name = "../vmlinuz" },
		"an absolute name":     func(i *pack.Image) { i.Assets[0].Name = "/vmlinuz" },
		"a whiteout's name":    func(i *pack.Image) { i.Assets[0].Name = ".wh.vmlinuz" },
		"a name given twice":   func(i *pack.Image) { i.Assets[1].Name = i.Assets[0].Name },
		"our annotation given": func(i *pack.Image) { i.Annotations = map[string]string{pack.AssetsAnnotation: "[]"} },
	} {
		t.Run(name, func(t *testing.T) {
			i := sample()
			change(&i)
			_, err := create(t).Add(context.Background(), i)
			require.ErrorContains(t, err, "pack image: ")
		})
	}
}

func TestTagsMoveAndAreFound(t *testing.T) {
	l := create(t)
	first := add(t, l, sample(), "v1")
	next := sample()
	next.Version = "2"
	second := add(t, l, next, "v2")
	require.NoError(t, l.Tag("v1", second))

	again, err := pack.Create(l.Dir())
	require.NoError(t, err)
	tags, err := again.Tags()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"v1", "v2"}, tags)
	found, err := again.Find("v1")
	require.NoError(t, err)
	require.Equal(t, second, found)
	require.NotEqual(t, first.Digest, found.Digest)
	_, err = again.Find("v3")
	require.ErrorIs(t, err, pack.ErrNoTag)
	require.Error(t, l.Tag("not a tag", second))
}

func TestADirectoryWithOtherThingsInItIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600))
	_, err := pack.Create(dir)
	require.ErrorContains(t, err, "not empty")
	require.Len(t, files(t, dir), 1)
}

func TestIndexRefusesWhatAReaderCouldNotChooseFrom(t *testing.T) {
	l := create(t)
	amd64 := add(t, l, sample(), "amd64")
	other := sample()
	other.Arch, other.Version = "arm64", "9"
	arm64 := add(t, l, other, "arm64")
	_, err := l.Index()
	require.Error(t, err)
	_, err = l.Index(amd64, amd64)
	require.ErrorContains(t, err, "two images for amd64")
	_, err = l.Index(amd64, arm64)
	require.ErrorContains(t, err, "versions 1.2.3 and 9")
}

// Memory stays the same whatever the assets' size: all that packing 64 MiB allocates is less than half of that.
func TestAssetsAreStreamed(t *testing.T) {
	const size = 64 << 20
	i := sample()
	i.Assets = []pack.Asset{{Name: "vmlinuz", Size: size, Write: func(w io.Writer) error {
		_, err := io.CopyN(w, rand.NewChaCha8([32]byte{1}), size)
		return err
	}}}
	l := create(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	add(t, l, i, "v1")
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/2))
}

func TestUKIIsAssembledWhileItIsPacked(t *testing.T) {
	stub, err := os.ReadFile("../../bootloader/uki/testdata/stub.efi")
	require.NoError(t, err)
	kernel := make([]byte, 0x400)
	copy(kernel[0x202:], "HdrS")
	copy(kernel[0x20e:], []byte{0x00, 0x01})
	copy(kernel[0x300:], "6.1.0-test (someone) #1\x00")
	reader := func(b []byte) *io.SectionReader { return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))) }

	a, err := pack.UKI(pack.UKIParts{Stub: reader(stub), Linux: reader(kernel), Initrd: reader([]byte("initramfs")),
		Cmdline: "quiet", OSRelease: "VERSION_ID=5\n"})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, a.Write(&out))
	require.EqualValues(t, out.Len(), a.Size)
	img, err := uki.Parse(bytes.NewReader(out.Bytes()), a.Size)
	require.NoError(t, err)
	uname, err := img.Text(uki.Uname)
	require.NoError(t, err)
	require.Equal(t, "6.1.0-test", uname)
	release, err := img.Release()
	require.NoError(t, err)
	require.Equal(t, "5", release["VERSION_ID"])

	_, err = pack.UKI(pack.UKIParts{Stub: reader(kernel), Linux: reader(kernel)})
	require.ErrorIs(t, err, uki.ErrFormat)
}
