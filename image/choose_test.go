package image_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// kernelOf is an image for an architecture, whose kernel tells it from others.
func kernelOf(t testing.TB, content, arch string) spec {
	return spec{
		layers: [][]byte{archive(t, file("usr/install/"+arch+"/vmlinuz", content))},
		config: func(c *v1.ConfigFile) { c.Architecture = arch },
	}
}

// attestation is what BuildKit puts beside an image.
func attestation(t testing.TB, dir string, of v1.Descriptor) v1.Descriptor {
	d := storeIn(t, dir, spec{layers: [][]byte{[]byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`)},
		config:   func(c *v1.ConfigFile) { c.OS, c.Architecture = "unknown", "unknown" },
		manifest: func(m *v1.Manifest) { m.Layers[0].MediaType = "application/vnd.in-toto+json" }})
	d.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest",
		"vnd.docker.reference.digest": of.Digest.String()}
	return d
}

func indexOf(t testing.TB, dir string, entries ...v1.Descriptor) v1.Descriptor {
	return putBlob(t, dir, toJSON(t, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: entries}), types.OCIImageIndex)
}

func TestWhichImageOfAnIndexIsTaken(t *testing.T) {
	dir, amd := layoutOf(t, kernelOf(t, "amd64", "amd64"))
	arm := storeIn(t, dir, kernelOf(t, "arm64", "arm64"))
	on := func(d v1.Descriptor, platform string) v1.Descriptor {
		if os, arch, ok := strings.Cut(platform, "/"); ok {
			d.Platform = &v1.Platform{OS: os, Architecture: arch}
		}
		return d
	}
	bare := func(d v1.Descriptor) v1.Descriptor { d.Platform, d.Annotations, d.MediaType = nil, nil, ""; return d }
	note := attestation(t, dir, amd)
	gone := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 5, Digest: digestOf([]byte("gone"))}
	deep := indexOf(t, dir, amd)
	for range 8 {
		deep = indexOf(t, dir, deep)
	}
	var many []v1.Descriptor
	for range 100 {
		many = append(many, arm)
	}
	long := on(arm, "linux/"+strings.Repeat("x\x1b[2J", 50_000))
	for _, c := range []struct {
		name    string
		entries []v1.Descriptor
		is      error
		says    string
	}{
		{"without platforms", []v1.Descriptor{arm, amd}, nil, ""},
		{"an attestation first", []v1.Descriptor{note, on(arm, "linux/arm64"), on(amd, "linux/amd64")}, nil, ""},
		{"an attestation in the middle", []v1.Descriptor{arm, note, amd}, nil, ""},
		{"an attestation that nothing tells in the index", []v1.Descriptor{bare(note), amd}, nil, ""},
		{"an attestation that says it is the image", []v1.Descriptor{on(bare(note), "linux/amd64"), amd}, nil, ""},
		{"two of one platform, and one config differs", []v1.Descriptor{on(arm, "linux/amd64"), on(amd, "linux/amd64")},
			nil, ""},
		{"an architecture by its other name", []v1.Descriptor{on(arm, "linux/aarch64"), on(amd, "linux/x86_64")}, nil,
			""},
		{"one whose type is that of its config", []v1.Descriptor{func() v1.Descriptor {
			d := on(amd, "linux/amd64")
			d.ArtifactType = string(types.DockerConfigJSON)
			return d
		}()}, nil, ""},
		{"a chart before it", []v1.Descriptor{func() v1.Descriptor { d := amd; d.ArtifactType = "application/vnd.cncf.helm.config.v1+json"; return d }(), amd}, nil, ""},
		{"an index in an index", []v1.Descriptor{on(arm, "linux/arm64"),
			indexOf(t, dir, note, indexOf(t, dir, arm, amd))}, nil, ""},
		{"one of another platform is not there", []v1.Descriptor{gone, amd}, nil, ""},
		{"none is there", []v1.Descriptor{gone}, image.ErrNotFound, "gone"},
		{"an attestation only", []v1.Descriptor{note}, image.ErrPlatform, "nothing that names a platform"},
		{"another one only", []v1.Descriptor{arm, note}, image.ErrPlatform,
			"it has linux/arm64, linux/amd64 is wanted"},
		{"indexes without end", []v1.Descriptor{deep}, image.ErrUnsafe, "in each other"},
		{"more than anybody needs", many, image.ErrUnsafe, "more than 64 manifests"},
		{"a platform that nobody wants to read", []v1.Descriptor{long}, image.ErrPlatform, `x\x1b[2J`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tagIt(t, dir, "v1", indexOf(t, dir, c.entries...))
			got, err := pull("oci:"+dir, options())
			if c.is == nil {
				require.NoError(t, err)
				require.Equal(t, map[string]string{"vmlinuz": "amd64"}, got)
				return
			}
			require.ErrorIs(t, err, c.is)
			if c.says != "gone" {
				require.ErrorContains(t, err, c.says)
			}
			require.Less(t, len(err.Error()), 2000)
		})
	}
	t.Run("in the registry", func(t *testing.T) {
		tagIt(t, dir, "v1", indexOf(t, dir, note, indexOf(t, dir, note, on(arm, "linux/arm64"),
			on(amd, "linux/amd64"))))
		r := serve(t)
		got, err := pull(push(t, r, dir), options())
		require.NoError(t, err)
		require.Equal(t, map[string]string{"vmlinuz": "amd64"}, got)
	})
}

// entries makes a layout's index.json.
func entries(t testing.TB, dir string, all ...v1.Descriptor) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: all}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), toJSON(t, index), 0o600))
}

func tagged(d v1.Descriptor, name, tag string) v1.Descriptor {
	d.Annotations = map[string]string{name: tag}
	return d
}

func TestTagsOfALayout(t *testing.T) {
	dir, amd := layoutOf(t, kernelOf(t, "amd64", "amd64"))
	arm := storeIn(t, dir, kernelOf(t, "arm64", "arm64"))
	takes := func(ref string) {
		t.Helper()
		got, err := pull(ref, options())
		require.NoError(t, err, ref)
		require.Equal(t, map[string]string{"vmlinuz": "amd64"}, got)
	}
	entries(t, dir, tagged(arm, pack.TagAnnotation, "v2"), tagged(amd, pack.TagAnnotation, "v2"))
	takes("oci:" + dir + ":v2") // two platforms under one tag
	entries(t, dir, attestation(t, dir, amd), tagged(amd, pack.TagAnnotation, "v2"))
	takes("oci:" + dir)

	whole := "registry.example.com:5000/acme/os:v2"
	entries(t, dir, tagged(arm, pack.TagAnnotation, "v2"), tagged(amd, pack.TagAnnotation, whole))
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tarUp(t, dir, saved)
	colon := filepath.Join(t.TempDir(), "a:b")
	require.NoError(t, os.Rename(dir, colon))
	for _, at := range []string{"oci:" + colon, "oci-archive:" + saved} {
		takes(at + ":" + whole)
		_, err := pull(at+":registry.example.com:5000/acme/os:v3", options())
		require.ErrorIs(t, err, image.ErrNotFound)
		require.ErrorContains(t, err, whole)
	}
	entries(t, colon, tagged(amd, "io.containerd.image.name", "docker.io/acme/os:v2"))
	takes("oci:" + colon + ":docker.io/acme/os:v2")
}

// tarUp makes an oci-archive of a layout.
func tarUp(t testing.TB, dir, to string) {
	var all []entry
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		all = append(all, file(name, string(data)))
		return err
	}))
	require.NoError(t, os.WriteFile(to, archive(t, all...), 0o600))
}

func TestReferencesThatAreNone(t *testing.T) {
	for what, ref := range map[string]string{
		"2 KiB": "host.example/os:" + strings.Repeat("v", 2048), "2 KiB of a path": "oci:/" + strings.Repeat("d/",
			1024),
		"an escape": "oci:/a\x1b[2J", "a newline": "oci:/a\nb", "Latin-1": "dir:/\xe9", "a zero": "oci:/\x00",
		"a path that climbs": "host.example/a/../b:v1", "a dot": "host.example/./b:v1",
		"nothing between": "host.example/a//b:v1",
	} {
		_, err := image.Open(t.Context(), ref, options())
		require.ErrorIs(t, err, image.ErrReference, what)
		require.Less(t, len(err.Error()), 500, what)
		require.NotContains(t, err.Error(), "\x1b")
	}
}

// What an image's config holds beside what is needed does not matter.
func TestConfigsThatAreOdd(t *testing.T) {
	for what, change := range map[string]func(m map[string]any){
		"created is empty":  func(m map[string]any) { m["created"] = "" },
		"created is a word": func(m map[string]any) { m["created"] = "yesterday" },
		"labels are a list": func(m map[string]any) { m["config"] = map[string]any{"Labels": []string{"x"}} },
		"a label is none": func(m map[string]any) {
			m["config"] = map[string]any{"Labels": map[string]any{pack.VersionAnnotation: 7}}
		},
		"history is a word": func(m map[string]any) { m["history"] = "long" },
		"config is nothing": func(m map[string]any) { m["config"] = nil },
		"ports are odd":     func(m map[string]any) { m["config"] = map[string]any{"ExposedPorts": 80, "Env": "x"} },
	} {
		dir, _ := layoutOf(t, kernelOf(t, "amd64", "amd64"))
		_, m := manifestOf(t, dir)
		var c map[string]any
		readJSON(t, filepath.Join(dir, "blobs/sha256", m.Config.Digest.Hex), &c)
		change(c)
		m.Config = putBlob(t, dir, toJSON(t, c), types.OCIConfigJSON)
		tagIt(t, dir, "v1", putBlob(t, dir, toJSON(t, m), types.OCIManifestSchema1))
		got, err := pull("oci:"+dir, options())
		require.NoError(t, err, what)
		require.Equal(t, map[string]string{"vmlinuz": "amd64"}, got)
	}
}

func TestWhatCannotBeReadAsAnImage(t *testing.T) {
	good := archive(t, asset("vmlinuz", strings.Repeat("kernel", 1000)))
	packed := gzipped(t, good)
	flipped := bytes.Clone(packed)
	flipped[len(flipped)/2] ^= 0xff
	zst := zstandard(t, good)
	badZstd := bytes.Clone(zst)
	badZstd[len(badZstd)-1] ^= 0xff // the checksum
	for what, layer := range map[string][]byte{
		"gzip that is broken": flipped, "gzip cut short": packed[:60], "a gzip header alone": packed[:4],
		"zstd that is broken": badZstd,
		"zstd cut short":      zst[:len(zst)-10], "xz": []byte("\xfd7zXZ\x00 and so on"), "bzip2": []byte("BZh91AY&SY"),
		"text":                 bytes.Repeat([]byte("text"), 500),
		"an archive cut short": good[:515], "an archive cut in a file": good[:3000],
	} {
		dir, _ := layoutOf(t, spec{layers: [][]byte{layer}, archives: [][]byte{good}})
		_, err := pull("oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrUnreadable, what)
		r := serve(t)
		_, err = pull(push(t, r, dir), options())
		require.ErrorIs(t, err, image.ErrUnreadable, what)
	}
	for what, manifest := range map[string]string{
		"HTML": "<html>log in</html>", "an error": `{"errors":[{"code":"DENIED"}]}`,
		"schema 1": `{"schemaVersion":1,"fsLayers":[]}`,
		"a list":   `[]`, "nothing": "", "neither": `{"schemaVersion":2}`,
		"a digest of another kind": `{"schemaVersion":2,"config":{"digest":"md5:00"},"layers":[]}`,
	} {
		dir, _ := layoutOf(t, stored(good))
		tagIt(t, dir, "v1", putBlob(t, dir, []byte(manifest), types.OCIManifestSchema1))
		_, err := pull("oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrUnreadable, what)
	}
}

func TestFilesThatAreNoArchive(t *testing.T) {
	dir, _ := layoutOf(t, kernelOf(t, "amd64", "amd64"))
	at := t.TempDir()
	saved := filepath.Join(at, "saved.tar")
	tarUp(t, dir, saved)
	data, err := os.ReadFile(saved)
	require.NoError(t, err)
	put := func(name string, data []byte) string {
		require.NoError(t, os.WriteFile(filepath.Join(at, name), data, 0o600))
		return filepath.Join(at, name)
	}
	for file, says := range map[string]string{
		put("saved.tar.gz", gzipped(t, data)):            "packed with gzip as a whole; unpack it first (gzip -d)",
		put("saved.tar.zst", zstandard(t, data)):         "packed with zstd",
		put("text", []byte(strings.Repeat("text", 300))): "want a tar archive",
	} {
		for _, scheme := range []string{"oci-archive:", "docker-archive:"} {
			_, err := pull(scheme+file, options())
			require.ErrorIs(t, err, image.ErrUnreadable, scheme+file)
			require.ErrorContains(t, err, says)
		}
	}
}

// Files with holes, as GNU tar stores them in each of its formats.
func TestSparseFilesInAnArchive(t *testing.T) {
	kernel := string(append(append([]byte("begin"), make([]byte, 3<<20)...), "end"...))
	dir, _ := layoutOf(t, kernelOf(t, kernel, "amd64"))
	_, m := manifestOf(t, dir)
	blob := filepath.Join(dir, "blobs/sha256", m.Layers[0].Digest.Hex)
	data, err := os.ReadFile(blob)
	require.NoError(t, err)
	f, err := os.Create(blob)
	require.NoError(t, err)
	for at := 0; at < len(data); at += 4096 {
		if piece := data[at:min(at+4096, len(data))]; !bytes.Equal(piece, make([]byte, len(piece))) {
			_, err = f.WriteAt(piece, int64(at))
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Truncate(int64(len(data))))
	require.NoError(t, f.Close())
	for _, format := range [][]string{{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"},
		{"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"}} {
		saved := filepath.Join(t.TempDir(), "saved.tar")
		out, err := exec.Command("tar", append(format, "--sparse", "-C", dir, "-cf", saved, ".")...).CombinedOutput()
		require.NoError(t, err, string(out))
		info, err := os.Stat(saved)
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(1<<20), "it has holes")
		got, err := pull("oci-archive:"+saved, options())
		require.NoError(t, err, format)
		require.Equal(t, map[string]string{"vmlinuz": kernel}, got)
	}
}

func TestDigestsOfSHA512(t *testing.T) {
	long := func(data []byte) v1.Hash {
		return v1.Hash{Algorithm: "sha512", Hex: fmt.Sprintf("%x", sha512.Sum512(data))}
	}
	for _, pack := range []func(testing.TB, []byte) []byte{gzipped,
		func(_ testing.TB, data []byte) []byte { return data }} {
		dir, _ := layoutOf(t, stored())
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs/sha512"), 0o700))
		put := func(data []byte) v1.Descriptor {
			d := v1.Descriptor{Size: int64(len(data)), Digest: long(data)}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "blobs/sha512", d.Digest.Hex), data, 0o600))
			return d
		}
		plain := archive(t, asset("vmlinuz", "kernel"))
		layer := put(pack(t, plain))
		config := put(toJSON(t, v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers",
			DiffIDs: []v1.Hash{digestOf(plain)}}}))
		m := put(toJSON(t, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config,
			Layers: []v1.Descriptor{layer}}))
		ref := "oci:" + dir + "@" + m.Digest.String()
		i, err := image.Open(context.Background(), ref, options())
		require.NoError(t, err)
		require.Equal(t, m.Digest.String(), i.Digest)
		got, err := extract(i, nil)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"vmlinuz": "kernel"}, got)

		blob := filepath.Join(dir, "blobs/sha512", layer.Digest.Hex)
		data, err := os.ReadFile(blob)
		require.NoError(t, err)
		data[len(data)-1] ^= 1
		require.NoError(t, os.WriteFile(blob, data, 0o600))
		_, err = pull(ref, options())
		require.ErrorIs(t, err, image.ErrTampered)
	}
}

func TestWhatAnImageStates(t *testing.T) {
	for what, c := range map[string]struct{ name, text string }{
		"a version with an escape":      {pack.VersionAnnotation, "1\x1b[2J"},
		"a version of 600 characters":   {pack.VersionAnnotation, strings.Repeat("1", 600)},
		"a lowest version that is none": {"org.pawl-os.upgrade.from", "1.0\n"},
		"a client's":                    {"org.pawl-os.upgrade.client", strings.Repeat("1", 600)},
	} {
		s := kernelOf(t, "amd64", "amd64")
		s.manifest = func(m *v1.Manifest) { m.Annotations = map[string]string{c.name: c.text} }
		dir, _ := layoutOf(t, s)
		_, err := image.Open(t.Context(), "oci:"+dir, options())
		require.ErrorIs(t, err, bootloader.ErrVersion, what)
		require.NotContains(t, err.Error(), "\x1b")
	}
	s := kernelOf(t, "amd64", "amd64")
	s.manifest = func(m *v1.Manifest) {
		m.Annotations = map[string]string{"org.example.notes": strings.Repeat("long ", 20_000)}
	}
	dir, _ := layoutOf(t, s)
	_, err := image.Open(t.Context(), "oci:"+dir, options())
	require.NoError(t, err, "what nobody reads may be anything")
}
