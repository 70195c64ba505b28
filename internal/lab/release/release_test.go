package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

// pair puts a program of two builds where they are looked for.
func pair(t *testing.T, one, two string) *release {
	r := &release{to: t.TempDir(), work: t.TempDir()}
	for try, text := range map[string]string{"first": one, "second": two} {
		path := r.built(try, "amd64", "pawl")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
	}
	return r
}

func TestWhatIsNotGivenOut(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	same := string(program)
	require.ErrorContains(t, pair(t, same, same+"x").compare("amd64", "pawl", 1<<40), "two builds of one commit differ")
	require.ErrorContains(t, pair(t, same, same).compare("amd64", "pawl", 1000), "at most 1000 are wanted")
	require.Error(t, pair(t, "no program", "no program").compare("amd64", "pawl", 1000))
	r := pair(t, same, same)
	require.NoError(t, r.compare("amd64", "pawl", 1<<40))
	require.Equal(t, []string{"pawl-linux-amd64"}, r.files)
}

// holding is an image for amd64 that runs /usr/bin/installer, made by another library than the one that packs.
func holding(t *testing.T, files map[string]string) v1.Image {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, data := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data))}))
		_, err := w.Write([]byte(data))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	require.NoError(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	require.NoError(t, err)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64",
		Config: v1.Config{Entrypoint: []string{"/usr/bin/installer"}}, RootFS: v1.RootFS{Type: "layers",
			DiffIDs: []v1.Hash{digest(t, layer)}}})
	require.NoError(t, err)
	return img
}

func digest(t *testing.T, layer v1.Layer) v1.Hash {
	h, err := layer.DiffID()
	require.NoError(t, err)
	return h
}

func TestABaseImageHoldsItsProgramAndNothingElse(t *testing.T) {
	const program = "usr/bin/installer"
	good := map[string]string{program: "one"}
	require.NoError(t, runs(holding(t, good), "amd64", []byte("one")))
	require.ErrorContains(t, runs(holding(t, good), "arm64", []byte("one")), `it is for "amd64"`)
	require.ErrorContains(t, runs(holding(t, good), "amd64", []byte("two")), "is not the program that is given out")
	more := map[string]string{program: "one", "etc/passwd": "x"}
	require.ErrorContains(t, runs(holding(t, more), "amd64", []byte("one")), "etc/passwd")
	require.ErrorContains(t, runs(holding(t, nil), "amd64", []byte("one")), "its program is not in it")
}

func TestAnArchiveIsTheDirectory(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "blobs"), 0o755))
	for _, name := range []string{"index.json", "blobs/one"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	archive, err := archived(dir)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "archive")
	require.NoError(t, os.WriteFile(file, archive, 0o600))
	said, err := output(t.Context(), ".", nil, "tar", "-xf", file, "-C", out)
	require.NoError(t, err, said)
	require.Empty(t, said)
	for _, name := range []string{"index.json", "blobs/one"} {
		data, err := os.ReadFile(filepath.Join(out, name))
		require.NoError(t, err)
		require.Equal(t, name, string(data))
	}
}

func TestWhatAPackageLeavesIsFound(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"var/lib/dpkg/status", "etc/pawl/left"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), nil, 0o644))
	}
	left, err := below(root)
	require.NoError(t, err)
	require.Equal(t, []string{"etc/pawl/left"}, left)
}

func TestAManualShowsTextAsItIs(t *testing.T) {
	require.Equal(t, "\\&.TH x\n\\-\\-nodes \\eN \\(gapawl\\(ga \\(aqa\\(aq", roff(".TH x\n--nodes \\N `pawl` 'a'"))
	require.Equal(t, [][]string{{"  upgrade     W", "upgrade"}, {"  dry-run  W", "dry-run"}},
		verb.FindAllStringSubmatch("  upgrade     What\n  dry-run  What\n    more\n", -1))
}
