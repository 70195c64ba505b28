package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/internal/terminal"
)

// Each format comes under its name and nothing else, and standard output gets the same bytes as a file.
func TestImageInEachFormat(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	f := newFactory(t)
	for name, format := range map[string]string{
		"disk.qcow2": "qcow2", "disk.vhd.gz": "vhd.gz", "disk.vhdx": "vhdx", "disk.vmdk": "vmdk", "disk.ova": "ova",
		"disk.tar.gz": "gcp", "disk.raw.zst": "raw.zst", "disk.qcow2.gz": "qcow2.gz",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			status, out := run(t, "image", "--image", f.one, "--output", path, "--size", "2GiB")
			require.Zero(t, status, out)
			require.Contains(t, out, "output: done in")
			require.Contains(t, out, path+": "+format+", 2GiB boots 1.0.0")
			names, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, names, 1)
			file, err := os.ReadFile(path)
			require.NoError(t, err)

			var stream, said bytes.Buffer
			arguments := []string{"image", "--image", f.one, "--output", "-", "--output-format", format, "--size",
				"2GiB"}
			require.Zero(t, execute(t.Context(), arguments, terminal.To(&stream), terminal.To(&said)), said.String())
			if format == "ova" { // it calls its machine by the name of the file
				require.InDelta(t, len(file), stream.Len(), 1024)
				return
			}
			require.Equal(t, sha256.Sum256(file), sha256.Sum256(stream.Bytes()))
		})
	}
}

func TestImageOutputsThatCannotBe(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	dir := t.TempDir()
	sealed := filepath.Join(dir, "sealed")
	require.NoError(t, os.Mkdir(sealed, 0o500))
	file := filepath.Join(dir, "disk")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"a directory":        {[]string{"--output", dir}, "it is a directory; name a file in it"},
		"an unknown ending":  {[]string{"--output", file + ".qcow"}, "did you mean .qcow2?"},
		"an unknown format":  {[]string{"--output", file, "--output-format", "vmdkk"}, "did you mean vmdk?"},
		"an unknown packing": {[]string{"--output", file, "--output-format", "raw.xz"}, "xz -T0"},
		"no format":          {[]string{"--output", "-"}, "say what to write with --output-format"},
		"large sectors": {[]string{"--output", file + ".vmdk", "--sector-size", "4096"},
			"raw and qcow2 hold those of 4096"},
		"a broken GiB":      {[]string{"--output", file + ".tar.gz", "--size", "2100MiB"}, "whole GiB only"},
		"compressed raw":    {[]string{"--output", file, "--compress"}, "qcow2 can be"},
		"no output":         {nil, `"output" not set`},
		"an unknown target": {[]string{"--output", file, "--target", "azur"}, "did you mean azure?"},
		"another ending": {[]string{"--output", file + ".qcow2", "--target", "azure"},
			"azure takes vhd, and the file is to be qcow2"},
		"a target's size": {[]string{"--output", file, "--target", "gcp", "--size", "2100MiB"},
			"--target: gcp holds disks of whole GiB"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out := run(t, append([]string{"image", "--image", f.one}, c.args...)...)
			require.Equal(t, exitUsage, status, out)
			require.Contains(t, out, c.says)
		})
	}
	if os.Getuid() != 0 { // root may write everywhere
		status, out := run(t, "image", "--image", f.one, "--output", filepath.Join(sealed, "disk.raw"))
		require.Equal(t, exitUsage, status, out)
		require.Contains(t, out, "permission denied")
	}
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
}

// A tampered image leaves nothing behind, in no format.
func TestAFailedImageLeavesNoFile(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	broken := f.reference("2.0.1", virtual.Spec{Size: 8 << 20})
	f.damage(f.blob(broken, "layer"), 0.9, false)
	for _, name := range []string{"disk.raw", "disk.qcow2", "disk.ova"} {
		dir := t.TempDir()
		status, out := run(t, "image", "--image", broken, "--output", filepath.Join(dir, name))
		require.Equal(t, exitImage, status, out)
		names, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, names)
	}
}

func TestImagePlanDrawsTheDisk(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.qcow2")
	status, out := run(t, "image", "--image", f.one, "--output", path, "--plan", "--label", "META=NOTES")
	require.Zero(t, status, out)
	for _, say := range []string{
		"disk.qcow2: qcow2 of 4 GiB, sectors of 512, started by systemd-boot", "version 1.0.0", "EFI        1 GiB",
		"NOTES", "attempts and values", "[########........................]", "slot A: vmlinuz.efi",
		"room: a slot can hold 477.",
	} {
		require.Contains(t, out, say)
	}
	require.Equal(t, 1, strings.Count(out, "[#"), out)
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, names)
}

// A target says the format, with a packing that the name asks for.
func TestImageForATarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{"qemu": "qcow2", "azure": "vhd", "vmware": "ova", "gcp": "gcp",
		"generic": "raw"} {
		r := diskRecipe{output: "disk", target: target, size: "2GiB", sector: 512, loader: "systemd-boot"}
		require.NoError(t, r.check(""))
		require.Equal(t, want, r.kind.String())
	}
	r := diskRecipe{output: "disk.vhd.zst", target: "azure", size: "2GiB", sector: 512, loader: "systemd-boot"}
	require.NoError(t, r.check(""))
	require.Equal(t, "vhd.zst", r.kind.String())
}
