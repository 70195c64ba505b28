package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
)

// noise is bytes that do not pack.
func noise(n int, seed byte) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// A version is packed against the one before it, in a registry and in a layout; a node that has that one fetches the
// patch.
func TestAPackedPatchIsFetched(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	old := noise(400_000, 1)
	root := filepath.Join(dir, "root")
	reg := newFactory(t).registry()
	packed := func(content []byte, more ...string) string {
		t.Helper()
		require.NoError(t, os.WriteFile(root, content, 0o600))
		status, out := run(t, append(append(slices.Clone(flags), "--root", root, "--output", filepath.Join(dir, "layout")),
			more...)...)
		require.Zero(t, status, out)
		return strings.TrimSpace(out)
	}
	first := packed(old, "--push", reg.Host()+"/os:1")
	second := packed(append(noise(3000, 2), old...), "--tag", "two", "--delta-from", first,
		"--delta-from", "oci:"+filepath.Join(dir, "layout")+"@"+first[strings.Index(first, "@")+1:],
		"--push", reg.Host()+"/os:2")
	img, err := image.Open(t.Context(), second, image.Options{Arch: "amd64"})
	require.NoError(t, err)
	n := slices.IndexFunc(img.Assets, func(a image.Asset) bool { return a.Name == "images/root" })
	o := image.PullOptions{Want: func(a image.Asset) bool { return a.Name == "images/root" }}
	o.Delta, err = img.Delta(t.Context(), o, []image.Local{{ReaderAt: bytes.NewReader(old), Size: int64(len(old))}})
	require.NoError(t, err)
	taken, ok := img.Taken(img.Assets[n], o)
	require.True(t, ok)
	require.Positive(t, taken.Patch)
	require.Less(t, taken.Patch, int64(4000))

	status, out := run(t, append(slices.Clone(flags), "--output", filepath.Join(dir, "layout"), "--delta-from",
		"oci:"+dir+"/nothing")...)
	require.Equal(t, exitImage, status, out)
	require.Contains(t, out, "--delta-from: ")
}

// archive is a cpio archive with one file.
func archive(name, content string) []byte {
	var b bytes.Buffer
	for _, e := range [][2]string{{name, content}, {"TRAILER!!!", ""}} {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0o100644, 0, 0, 1, 0, len(e[1]), 0,
			0, 0, 0, len(e[0])+1, 0)
		for _, s := range []string{e[0] + "\x00", e[1]} {
			b.WriteString(s)
			b.Write(make([]byte, (4-b.Len()%4)%4))
		}
	}
	return b.Bytes()
}

// What upgrades would download whole is told, and with --repack an initramfs is stored uncompressed.
func TestWhatIsCompressedInsideIsTold(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	content := append(archive("etc/hostname", "a name"), archive("init", strings.Repeat("a program ", 40_000))...)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	initramfs := filepath.Join(dir, "initramfs")
	first := archive("kernel/microcode", "code")
	require.NoError(t, os.WriteFile(initramfs, append(append(bytes.Clone(first), make([]byte, 8)...), b.Bytes()...), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "zipped"), b.Bytes(), 0o600))
	if i := slices.Index(flags, "--initramfs"); i >= 0 {
		flags = slices.Delete(flags, i, i+2)
	}
	if i := slices.Index(flags, "--stub"); i >= 0 {
		flags = slices.Delete(flags, i, i+2)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), loadertest.LinuxImage([]byte("a kernel")), 0o600))
	flags = append(flags, "--output", filepath.Join(dir, "layout"))
	status, said := run(t, append(flags, "--initramfs", filepath.Join(dir, "zipped"))...)
	require.Zero(t, status, said)
	require.Contains(t, said, "note: --initramfs: it is compressed with gzip")
	require.Contains(t, said, "(--repack stores it uncompressed)")
	status, said = run(t, append(flags, "--initramfs", initramfs, "--repack")...)
	require.Zero(t, status, said)
	require.NotContains(t, said, "--initramfs: it is compressed")
	img, err := image.Open(t.Context(), "oci:"+filepath.Join(dir, "layout"), image.Options{Arch: "amd64"})
	require.NoError(t, err)
	want := append(append(bytes.Clone(first), make([]byte, 8)...), content...)
	for _, a := range img.Assets {
		if a.Name == "initramfs.xz" {
			require.Equal(t, int64(len(want)), a.Size)
			require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(want)), a.SHA256)
		}
	}
	require.NoError(t, os.WriteFile(initramfs, []byte("\xfd7zXZ and so on"), 0o600))
	status, said = run(t, append(flags, "--initramfs", initramfs, "--repack")...)
	require.Equal(t, exitUsage, status)
	require.Contains(t, said, "unpack it before, with `xz -d`")
}
