//go:build root

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
)

// unpack does what a container runtime does with an image's layers, by foreign tools, and returns the root and the
// entrypoint.
func unpack(t *testing.T, layout, digest string) (root string, entrypoint []string) {
	t.Helper()
	root = t.TempDir()
	blob := func(digest string) string {
		return filepath.Join(layout, "blobs/sha256", strings.TrimPrefix(digest, "sha256:"))
	}
	read := func(digest string, to any) {
		data, err := os.ReadFile(blob(digest))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, to))
	}
	var m v1.Manifest
	read(digest, &m)
	for _, l := range m.Layers {
		command(t, "tar", "--zstd", "-xf", blob(l.Digest.String()), "-C", root)
	}
	var c v1.ConfigFile
	read(m.Config.Digest.String(), &c)
	return root, c.Config.Entrypoint
}

// TestEntrypointTakesWhatIsBesideIt packs an image whose entrypoint is this installer, unpacks it, enters it by chroot
// as a privileged container with the host's /dev would, and upgrades a machine whose disk is a loop device: no image is
// named and nothing is pulled.
func TestEntrypointTakesWhatIsBesideIt(t *testing.T) {
	dir, flags := parts(t)
	program := filepath.Join(dir, "installer")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	layout := filepath.Join(dir, "layout")
	status, text := run(t, append(flags, "--output", layout, "--entrypoint", program)...)
	require.Zero(t, status, text)
	packed, err := image.Open(t.Context(), strings.TrimSpace(text), image.Options{Arch: "amd64"})
	require.NoError(t, err)
	require.True(t, packed.Resumable(packed.Assets[1]), "the program's layer does not get into the way")
	root, entrypoint := unpack(t, layout, packed.Digest)
	require.Equal(t, []string{"/usr/bin/installer"}, entrypoint)

	f := newFactory(t).distinct()
	b := f.box(t)
	file := b.attach()
	for from, at := range map[string]string{"/dev": "dev", "/proc": "proc", "/sys": "sys",
		filepath.Dir(b.vars): "host"} {
		to := filepath.Join(root, at)
		require.NoError(t, os.MkdirAll(to, 0o755))
		require.NoError(t, unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""))
		require.NoError(t, unix.Mount("", to, "", unix.MS_PRIVATE|unix.MS_REC, ""))
		t.Cleanup(func() { require.NoError(t, unix.Unmount(to, unix.MNT_DETACH)) })
	}
	enter := func(args ...string) string {
		cmd := exec.Command(entrypoint[0], append(args, "--arch", "amd64", "--disk", b.disk, "--efivars",
			"/host/efivars", "--os-release", "/host/os-release")...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Dir, cmd.Env = "/", []string{"HOME=/"}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Contains(t, enter("plan"), "dir:/")
	enter("upgrade")
	unix.Sync()
	b.disk = file
	boots, _ := b.model()
	require.True(t, boots.Trial && boots.Slot == bootloader.B, "%s", boots)
	require.Equal(t, ukiOf(packed), boots.Digest)
}
