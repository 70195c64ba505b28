package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/image"
)

// TestPackForTwoArchitectures packs one image an architecture, joins, signs and pushes them; each machine gets its own,
// and the same files give the same digest.
func TestPackForTwoArchitectures(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	key, err := filepath.Abs("../../image/pack/testdata/cosign/generated.key")
	require.NoError(t, err)
	public, err := os.ReadFile(strings.TrimSuffix(key, ".key") + ".pub")
	require.NoError(t, err)
	t.Setenv("COSIGN_PASSWORD", "correct horse")
	f := newFactory(t)
	r := f.registry()
	var digests []string
	for range 2 {
		dir, flags := parts(t)
		layout := filepath.Join(dir, "layout")
		for _, arch := range []string{"amd64", "arm64"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "loader.efi"), loadertest.Loader(arch), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "stub"), loadertest.StubFor(arch), 0o600))
			status, out := run(t, append(flags, "--arch", arch, "--tag", "v4-"+arch, "--output", layout)...)
			require.Zero(t, status, out)
		}
		to := r.Host() + "/pawl/os:v4"
		status, out := run(t, "pack", "index", "--output", layout, "--sign-key", key, "--push", to, "v4-amd64",
			"v4-arm64")
		require.Zero(t, status, out)
		ref := strings.TrimSpace(out)
		_, digest, _ := strings.Cut(ref, "@")
		digests = append(digests, digest)
		for _, arch := range []string{"amd64", "arm64"} {
			for _, ref := range []string{ref, to, "oci:" + layout + ":4.5.6-7"} {
				img, err := image.Open(t.Context(), ref, image.Options{Arch: arch,
					Policy: &image.Policy{Rules: []image.Rule{{
						References: []string{r.Host() + "/pawl/os", "oci:" + layout}, Keys: []string{string(public)},
					}}}})
				require.NoError(t, err, "%s for %s", ref, arch)
				require.Equal(t, digest, img.Digest)
				require.NotEqual(t, digest, img.PlatformDigest)
				require.Equal(t, arch, img.Arch)
				require.Equal(t, "4.5.6+7", img.Version)
			}
		}
		_, err := image.Open(t.Context(), to, image.Options{Arch: "riscv64"})
		require.ErrorIs(t, err, image.ErrPlatform)

		for _, c := range []struct {
			args []string
			says string
		}{
			{[]string{"--output", layout, "v9"}, "find v9"},
			{[]string{"--output", layout, "v4-amd64", "v4-amd64"}, "two images for amd64"},
			{[]string{"--output", layout, "4.5.6-7"}, "is an index itself"},
			{[]string{"--output", filepath.Join(dir, "none"), "v4-amd64"}, "pack the images into it first"},
			{[]string{"--output", layout}, "name the tags"},
			{[]string{"--output", layout, "--tag", "a b", "v4-amd64"}, "--tag"},
		} {
			status, out := run(t, append([]string{"pack", "index"}, c.args...)...)
			require.Equal(t, exitUsage, status, out)
			require.Contains(t, out, c.says)
		}
	}
	require.Equal(t, digests[0], digests[1])
}
