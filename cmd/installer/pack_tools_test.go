//go:build tools

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/pack"
)

// What sbsign and osslsigncode make of an image's programs is what is packed, and sbverify takes it for signed.
func TestAProgramSignsWhatIsPacked(t *testing.T) {
	t.Parallel()
	dir, flags := parts(t)
	key, certs := keyPair(t, dir)
	for name, text := range map[string]string{
		"sbsign":       "sbsign --key " + key + " --cert " + certs + ` --output "$2" "$1"`,
		"osslsigncode": "osslsigncode sign -h sha256 -key " + key + " -certs " + certs + ` -in "$1" -out "$2"`,
	} {
		path := script(t, name, text)
		status, out := run(t, append(flags, "--output", filepath.Join(dir, name), "--sign-efi-with", path)...)
		require.Zero(t, status, out)
		lines := strings.Split(strings.TrimSpace(out), "\n") // what the program said comes first
		img, err := image.Open(t.Context(), lines[len(lines)-1], image.Options{Arch: "amd64"})
		require.NoError(t, err)
		verified := 0
		require.NoError(t, img.Extract(t.Context(), func(a image.Asset, r io.Reader) error {
			content, err := io.ReadAll(r)
			if err != nil || a.Name != pack.UKIAsset && a.Name != pack.LoaderAsset {
				return err
			}
			path := filepath.Join(dir, name+"-"+a.Name)
			require.NoError(t, os.WriteFile(path, content, 0o600))
			tool(t, "sbverify", "--cert", certs, path)
			verified++
			return nil
		}, nil))
		require.Equal(t, 2, verified)
	}
}
