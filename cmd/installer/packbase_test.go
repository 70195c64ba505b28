package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// elf is how a program for an architecture begins.
func elf(a arch.Arch) []byte {
	program := make([]byte, 64)
	copy(program, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(program[18:], a.ELF)
	return append(program, "the installer"...)
}

// based builds an image on a base with another library, as `FROM base` and `COPY` do.
func based(t *testing.T, base, digest string, files map[string][]byte) string {
	t.Helper()
	from, err := layout.FromPath(base)
	require.NoError(t, err)
	hash, err := v1.NewHash(digest)
	require.NoError(t, err)
	img, err := from.Image(hash)
	require.NoError(t, err)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, data := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
			Size: int64(len(data))}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	require.NoError(t, err)
	img, err = mutate.AppendLayers(img, layer)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "built")
	to, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, to.AppendImage(img))
	return "oci:" + dir
}

// TestAnImageThatIsBuiltOnABase makes a base for each architecture, builds on one with another library, and installs
// what comes of it: its version is the system's, not the base's.
func TestAnImageThatIsBuiltOnABase(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := t.TempDir()
	var digests []string
	for _, try := range []string{"one", "two"} {
		bases := filepath.Join(dir, try)
		for _, a := range arch.All() {
			program := filepath.Join(dir, a.Name)
			require.NoError(t, os.WriteFile(program, elf(a), 0o755))
			status, out := run(t, "pack", "base", "--program", program, "--version", "7.0.0", "--arch", a.Name, "--tag",
				a.Name, "--output", bases)
			require.Zero(t, status, out)
			_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
			digests = append(digests, digest)
			_, err := image.Open(t.Context(), strings.TrimSpace(out), image.Options{Arch: a.Name})
			require.ErrorIs(t, err, image.ErrNoAssets)
			require.ErrorContains(t, err, "base image")
		}
		status, out := run(t, "pack", "index", "--output", bases, arch.All()[0].Name, arch.All()[1].Name)
		require.Zero(t, status, out)
		require.Contains(t, out, "oci:"+bases+"@sha256:")
	}
	n := len(arch.All())
	require.Equal(t, digests[:n], digests[n:], "the same bytes")

	var uki bytes.Buffer
	_, flags := parts(t)
	packed := filepath.Join(dir, "packed")
	status, out := run(t, append(flags, "--output", packed)...)
	require.Zero(t, status, out)
	img, err := image.Open(t.Context(), strings.TrimSpace(out), image.Options{Arch: "amd64"})
	require.NoError(t, err)
	require.NoError(t, img.Extract(t.Context(), func(a image.Asset, r io.Reader) error {
		if a.Name != pack.UKIAsset {
			return nil
		}
		_, err := uki.ReadFrom(r)
		return err
	}, nil))
	ref := based(t, filepath.Join(dir, "one"), digests[0], map[string][]byte{
		"usr/install/amd64/vmlinuz.efi":      uki.Bytes(),
		"usr/install/amd64/systemd-boot.efi": loadertest.Loader("amd64"),
	})
	b := newFactory(t).box(t)
	require.NoError(t, os.Remove(b.disk))
	b.writeVars(nil)
	status, out = run(t, "image", "--image", ref, "--arch", "amd64", "--output", b.disk, "--size", "2GiB")
	require.Zero(t, status, out)
	status, out = run(t, "status", "--disk", b.disk, "--efivars", b.vars)
	require.Zero(t, status, out)
	require.Contains(t, out, "4.5.6+7")
	require.NotContains(t, out, "7.0.0")
}

func TestWhatIsNoProgramForABase(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	all := arch.All()
	program := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(program, elf(all[1]), 0o755))
	base := []string{"pack", "base", "--version", "1.0.0", "--arch", all[0].Name, "--output", filepath.Join(dir, "bases")}
	for _, c := range []struct {
		says string
		args []string
	}{
		{fmt.Sprintf("ELF machine %d (give the program for %s, or --arch)", all[1].ELF, all[0].Name),
			append(base[:len(base):len(base)], "--program", program)},
		{"--entrypoint: " + program, append(flags, "--output", dir+"/layout", "--entrypoint", program)},
		{"is no program for Linux", append(base[:len(base):len(base)], "--program", filepath.Join(dir, "vmlinuz"))},
		{"no such file", append(base[:len(base):len(base)], "--program", filepath.Join(dir, "none"))},
		{"--tag", append(base[:len(base):len(base)], "--program", program, "--tag", "a b")},
	} {
		status, out := run(t, c.args...)
		require.Equal(t, exitUsage, status, out)
		require.Contains(t, out, c.says)
	}
	_, err := os.Stat(filepath.Join(dir, "bases"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
