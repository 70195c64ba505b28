package image_test

import (
	"archive/tar"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
)

// What a container would see of the layers, the lowest first.
func TestWhiteouts(t *testing.T) {
	base := archive(t, asset("vmlinuz", "old"), asset("initramfs.xz", "old"), asset("dtb/a", "old"))
	for _, c := range []struct {
		name   string
		layers [][]byte
		want   map[string]string
	}{
		{"the upper file wins", [][]byte{base, archive(t, asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new", "initramfs.xz": "old", "dtb/a": "old"}},
		{"a whiteout removes a file", [][]byte{base, archive(t, asset(".wh.initramfs.xz", ""))},
			map[string]string{"vmlinuz": "old", "dtb/a": "old"}},
		{"a whiteout removes a directory", [][]byte{base, archive(t, asset(".wh.dtb", ""))},
			map[string]string{"vmlinuz": "old", "initramfs.xz": "old"}},
		{"a whiteout of a parent removes all", [][]byte{base, archive(t, file("usr/.wh.install", "")),
			archive(t, asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"a whiteout does not touch its own layer", [][]byte{base, archive(t, asset("vmlinuz", "new"),
			asset(".wh.vmlinuz", ""))},
			map[string]string{"vmlinuz": "new", "initramfs.xz": "old", "dtb/a": "old"}},
		{"nor those above", [][]byte{base, archive(t, asset(".wh.vmlinuz", "")), archive(t, asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new", "initramfs.xz": "old", "dtb/a": "old"}},
		{"an opaque directory hides what is below", [][]byte{base, archive(t, asset(".wh..wh..opq", ""),
			asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"an opaque root too", [][]byte{base, archive(t, file(".wh..wh..opq", ""), asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"an opaque directory elsewhere does not", [][]byte{base, archive(t, file("etc/.wh..wh..opq", ""))},
			map[string]string{"vmlinuz": "old", "initramfs.xz": "old", "dtb/a": "old"}},
		{"a file hides a directory", [][]byte{base, archive(t, asset("dtb", "file"))},
			map[string]string{"vmlinuz": "old", "initramfs.xz": "old", "dtb": "file"}},
		{"a directory hides a file", [][]byte{base, archive(t, asset("vmlinuz/x", "new"))},
			map[string]string{"vmlinuz/x": "new", "initramfs.xz": "old", "dtb/a": "old"}},
		{"a file in its place hides a directory for good", [][]byte{base, archive(t, asset("dtb", "file")),
			archive(t, directory("usr/install/amd64/dtb/"), asset("dtb/b", "new"))},
			map[string]string{"vmlinuz": "old", "initramfs.xz": "old", "dtb/b": "new"}},
		{"a link that an upper file hides does no harm", [][]byte{archive(t, symlink("usr/install/amd64/vmlinuz", "x")),
			archive(t, asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"a directory takes the place of a link for a parent",
			[][]byte{archive(t, symlink("usr/install", "../opt"), file("opt/amd64/vmlinuz", "x")),
				archive(t, directory("usr/install/"), asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"and an opaque one", [][]byte{archive(t, symlink("usr/install", "../opt")),
			archive(t, file("usr/install/.wh..wh..opq", ""), asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"a directory takes the place of a file for a parent", [][]byte{archive(t, file("usr", "x")),
			archive(t, directory("usr/"), directory("usr/install/"), asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"a directory takes the place of a link for the base itself",
			[][]byte{archive(t, symlink("usr/install/amd64", "arm64")), archive(t, directory("usr/install/amd64/"),
				asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"a directory takes the place of a link among the assets",
			[][]byte{archive(t, symlink("usr/install/amd64/dtb", "/etc"), asset("vmlinuz", "old")),
				archive(t, directory("usr/install/amd64/dtb"), asset("dtb/a", "new"))},
			map[string]string{"vmlinuz": "old", "dtb/a": "new"}},
		{"a link in between ends what was below", [][]byte{base, archive(t, symlink("usr/install", "../opt")),
			archive(t, directory("usr/install"), asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new"}},
		{"a directory in between takes the place of a link for a file above",
			[][]byte{archive(t, symlink("usr/install", "../opt")), archive(t, directory("usr/install/"),
				asset("dtb/a", "mid")), archive(t, asset("vmlinuz", "new"))},
			map[string]string{"vmlinuz": "new", "dtb/a": "mid"}},
		{"bookkeeping of union file systems is no whiteout", [][]byte{base, archive(t, asset(".wh..wh.plnk", ""))},
			map[string]string{"vmlinuz": "old", "initramfs.xz": "old", "dtb/a": "old"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := layoutOf(t, stored(c.layers...))
			got, err := pull("oci:"+dir, options())
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// Files behind a link that a layer below makes are where the link leads, with what is there beside them.
func TestFilesBehindALinkAreRefused(t *testing.T) {
	for what, layers := range map[string][][]byte{
		"for a parent": {archive(t, symlink("usr/install", "../opt")), archive(t, asset("vmlinuz", "new"))},
		"among the assets": {archive(t, symlink("usr/install/amd64/dtb", "/etc")), archive(t, asset("vmlinuz", "new"),
			asset("dtb/a", "new"))},
		"though a directory takes its place later": {archive(t, symlink("usr/install", "../opt")),
			archive(t, asset("dtb/a", "mid")),
			archive(t, directory("usr/install/"), asset("vmlinuz", "new"))},
	} {
		dir, _ := layoutOf(t, stored(layers...))
		_, err := pull("oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrUnsafe, what)
		require.ErrorContains(t, err, "is a symbolic link")
	}
}

// A few bytes of a layer must not cost much time or memory.
func TestEntriesAreBounded(t *testing.T) {
	var opaque []entry
	for n := range 4*4096 + 100 {
		opaque = append(opaque, asset(fmt.Sprintf("%d/.wh..wh..opq", n), ""))
	}
	for says, layer := range map[string][]byte{
		"more than": archive(t, opaque...),
		"a path of": archive(t, entry{tar.Header{Typeflag: tar.TypeReg, Name: "usr/install/amd64/" +
			strings.Repeat("a/", 3000) + "x", Size: 1, Format: tar.FormatPAX}, "x"}),
	} {
		dir, _ := layoutOf(t, stored(layer))
		_, err := pull("oci:"+dir, options())
		require.ErrorIs(t, err, image.ErrUnsafe)
		require.ErrorContains(t, err, says)
	}
}
