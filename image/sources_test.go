package image_test

import (
	"archive/tar"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// tarOf packs a directory as tar does.
func tarOf(t testing.TB, dir string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "archive.tar"))
	require.NoError(t, err)
	w := tar.NewWriter(out)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
	return out.Name()
}

// dockerSave writes a layout's image as another library writes what "docker save" does.
func dockerSave(t testing.TB, dir string) string {
	t.Helper()
	raw, _ := manifestOf(t, dir)
	img, err := layout.Path(dir).Image(digestOf(raw))
	require.NoError(t, err)
	tag, err := name.NewTag("example.org/os:v1")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "docker.tar")
	require.NoError(t, tarball.WriteToFile(file, tag, img))
	return file
}

// unpacked is a root directory with assets in it.
func unpacked(t testing.TB, assets map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range assets {
		file := filepath.Join(root, "usr/install/amd64", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	return root
}

func TestArchivesAndDirectories(t *testing.T) {
	dir, want := packed(t, 3000, pack.Gzip)
	raw, _ := manifestOf(t, dir)
	oci, docker := tarOf(t, dir), dockerSave(t, dir)
	for ref, digest := range map[string]string{
		"oci-archive:" + oci: digestOf(raw).String(), "oci-archive:" + oci + ":v1": digestOf(raw).String(),
		"oci-archive:" + oci + "@" + digestOf(raw).String(): digestOf(raw).String(),
		"docker-archive:" + docker:                          "", "docker-archive:" + docker + ":v1": "",
		"docker-archive:" + docker + ":example.org/os:v1": "",
		"dir:" + unpacked(t, want):                        "",
	} {
		i, err := image.Open(context.Background(), ref, options())
		require.NoError(t, err, ref)
		got, err := extract(i, nil)
		require.NoError(t, err, ref)
		require.Equal(t, want, got)
		require.True(t, strings.HasPrefix(i.Digest, "sha256:"), i.Digest)
		if digest != "" {
			require.Equal(t, digest, i.Digest)
		}
		again, err := image.Open(context.Background(), ref, options())
		require.NoError(t, err)
		require.Equal(t, i.Digest, again.Digest)
	}
}

func TestNamesInADirectoryThatSortDifferentlyAsPaths(t *testing.T) {
	want := map[string]string{"a/b": "1", "a-b": "22", "a": ""}
	delete(want, "a")
	got, err := pull("dir:"+unpacked(t, want), options())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestArchivesThatAreNotWhatTheySay(t *testing.T) {
	dir, _ := packed(t, 3000, pack.Gzip)
	docker, oci := dockerSave(t, dir), tarOf(t, dir)
	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("text", 500)), 0o600))
	for _, c := range []struct {
		ref  string
		is   error
		says string
	}{
		{"oci-archive:" + docker, image.ErrNotFound, "is no OCI layout"},
		{"docker-archive:" + oci, image.ErrNotFound, "is no docker archive"},
		{"docker-archive:" + docker + ":v9", image.ErrNotFound, "example.org/os:v1"},
		{"oci-archive:" + oci + ":v9", image.ErrNotFound, "the tags v1"},
		{"oci-archive:/nonexistent", image.ErrNotFound, "/nonexistent"},
		{"oci-archive:" + text, nil, "want a tar archive that is not packed"},
		{"dir:/nonexistent", image.ErrNotFound, "/nonexistent"},
		{"dir:" + dir, image.ErrNoAssets, "has no usr/install/amd64"},
	} {
		_, err := pull(c.ref, options())
		require.ErrorContains(t, err, c.says, c.ref)
		if c.is != nil {
			require.ErrorIs(t, err, c.is, c.ref)
		}
	}
}

func TestADirectoryWithALinkInItIsRefused(t *testing.T) {
	root := unpacked(t, map[string]string{"vmlinuz": "kernel"})
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(root, "usr/install/amd64/initramfs.xz")))
	_, err := pull("dir:"+root, options())
	require.ErrorIs(t, err, image.ErrUnsafe)
	require.ErrorContains(t, err, "initramfs.xz is no regular file")
}

// A file that changes between Open and Extract is noticed, whether its length changes or not.
func TestADirectoryThatChangesIsNoticed(t *testing.T) {
	for name, change := range map[string]string{"one byte": "kernEl", "shorter": "kern", "longer": "kernel!"} {
		t.Run(name, func(t *testing.T) {
			root := unpacked(t, map[string]string{"vmlinuz": "kernel"})
			i, err := image.Open(context.Background(), "dir:"+root, options())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(root, "usr/install/amd64/vmlinuz"), []byte(change), 0o600))
			_, err = extract(i, nil)
			require.ErrorIs(t, err, image.ErrTampered)
		})
	}
}

// One bit turned anywhere in a docker archive's config or layers is noticed, though nothing in it names a digest but
// the names of its files. What is not content, tar's own headers, may differ.
func TestTamperSweepOfADockerArchive(t *testing.T) {
	dir, want := packed(t, 3000, pack.Gzip)
	file := dockerSave(t, dir)
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	swept := 0
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		start, err := f.Seek(0, io.SeekCurrent)
		require.NoError(t, err)
		if h.Name == "manifest.json" {
			continue
		}
		for _, at := range positions(h.Size) {
			bad := append([]byte(nil), good...)
			bad[start+at] ^= 1
			require.NoError(t, os.WriteFile(file, bad, 0o600))
			refused(t, "docker-archive:"+file, h.Name)
			swept++
		}
	}
	require.Greater(t, swept, 300)
	require.NoError(t, os.WriteFile(file, good, 0o600))
	got, err := pull("docker-archive:"+file, options())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// A layer that is there twice is saved as a link to the first.
func TestADockerArchiveWithALayerTwice(t *testing.T) {
	layer := archive(t, asset("vmlinuz.efi", "kernel"))
	config := toJSON(t, v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers",
		DiffIDs: []v1.Hash{digestOf(layer), digestOf(layer)}}})
	name := digestOf(config).Hex + ".json"
	m := toJSON(t, []map[string]any{{"Config": name, "RepoTags": []string{"os:v1"}, "Layers": []string{"aaa/layer.tar",
		"bbb/layer.tar"}}})
	for link, says := range map[string]string{"../aaa/layer.tar": "", "../bbb/layer.tar": "bbb/layer.tar",
		"../../../etc/passwd": "bbb/layer.tar"} {
		data := archive(t, file("aaa/layer.tar", string(layer)), symlink("bbb/layer.tar", link),
			file(name, string(config)), file("manifest.json", string(m)))
		saved := filepath.Join(t.TempDir(), "saved.tar")
		require.NoError(t, os.WriteFile(saved, data, 0o600))
		got, err := pull("docker-archive:"+saved, options())
		if says != "" {
			require.ErrorIs(t, err, image.ErrNotFound)
			require.ErrorContains(t, err, says)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, map[string]string{"vmlinuz.efi": "kernel"}, got)
	}
}
