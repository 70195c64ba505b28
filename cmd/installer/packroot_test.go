package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/rootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
)

// An image with a root goes onto a disk, and the kernel's own arguments lead to the root, which is whole.
func TestAPackedRootIsFoundByItsKernel(t *testing.T) {
	t.Parallel()
	for _, stub := range []bool{true, false} {
		dir, flags := parts(t)
		if i := slices.Index(flags, "--stub"); !stub {
			flags = slices.Delete(flags, i, i+2)
			kernel := loadertest.LinuxImage([]byte("a kernel"))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), kernel, 0o600))
		}
		data := bytes.Repeat([]byte("a root "), 10_000) // no whole number of blocks
		require.NoError(t, os.WriteFile(filepath.Join(dir, "root"), data, 0o600))
		layout := filepath.Join(dir, "layout")
		status, out := run(t, append(flags, "--output", layout, "--root", filepath.Join(dir, "root"), "--verity")...)
		require.Zero(t, status, out)
		ref := strings.TrimSpace(out)
		again, out := run(t, append(flags, "--output", layout+"2", "--root", filepath.Join(dir, "root"), "--verity")...)
		require.Zero(t, again, out)
		require.Equal(t, ref[strings.Index(ref, "@"):], strings.TrimSpace(out)[strings.Index(out, "@"):], "the same bytes")

		b := newFactory(t).box(t)
		require.NoError(t, os.Remove(b.disk))
		b.writeVars(nil)
		status, out = run(t, "image", "--image", ref, "--arch", "amd64", "--output", b.disk, "--size", "2GiB")
		require.Zero(t, status, out)
		boots, _ := b.model()
		disk, err := partition.Open(b.disk, partition.OpenOptions{ReadOnly: true})
		require.NoError(t, err)
		defer disk.Close()
		line := boots.Cmdline
		img, err := image.Open(t.Context(), ref, image.Options{Arch: "amd64"})
		require.NoError(t, err)
		var order []string
		require.NoError(t, img.Extract(t.Context(), func(a image.Asset, _ io.Reader) error {
			order = append(order, a.Name)
			return nil
		}, nil))
		require.Equal(t, "images/root", order[len(order)-1], "what boots is looked at before anything is cleared")
		n := slices.IndexFunc(img.Assets, func(a image.Asset) bool { return a.Name == "images/root" })
		hash := img.Assets[n].Verity
		if stub { // the model hands over the loader's arguments, not those in the UKI
			line = "pawl.verity.root=" + hash
		}
		said, set, err := cmdline.One(line, "pawl.verity.root")
		require.NoError(t, err)
		require.True(t, set, line)
		require.Equal(t, hash, said)
		r, err := rootfs.Find(disk, rootfs.Options{Cmdline: line})
		require.NoError(t, err)
		require.Equal(t, hash, r.Hash.String())
		require.NoError(t, r.Check(t.Context(), disk))
		got := make([]byte, len(data))
		_, err = disk.ReadAt(got, r.Offset)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
	}
}

func TestFlagsOfARootThatCannotBe(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for want, more := range map[string][]string{
		"give --root, too":                {"--verity"},
		"no such file":                    {"--root", filepath.Join(dir, "none")},
		"no regular file":                 {"--root", dir},
		"it is empty":                     {"--root", empty, "--verity"},
		"pawl.verity.root is added where": {"--root", empty, "--cmdline", "panic=1 pawl.verity.root=1"},
	} {
		status, out := run(t, append(append([]string{}, flags...), append(more, "--output", dir+"/layout")...)...)
		require.Equal(t, 2, status, out)
		require.Contains(t, out, want)
	}
}
