package bootloader_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
)

func TestVersions(t *testing.T) {
	for _, good := range []string{"1", "v1.2.3", "1.2.3-rc.1+build_7", "1:2.0~beta^2", "main", strings.Repeat("9", 128),
		"sha256:" + strings.Repeat("a", 64)} {
		require.NoError(t, bootloader.CheckVersion(good), good)
	}
	for what, bad := range map[string]string{
		"nothing": "", "a space": "1 2", "a newline": "1\n2", "a tab": "1\t", "an escape": "1\x1b[2J",
		"a zero": "1\x00", "Latin-1": "1\xe9",
		"another letter": "1é", "a space alone": " ", "600 characters": strings.Repeat("1", 600),
		"129":          strings.Repeat("1", 129),
		"a dash first": "-1", "a slash": "a/b", "a quote": `1"`, "a line separator": "1\u2028",
	} {
		err := bootloader.CheckVersion(bad)
		require.ErrorIs(t, err, bootloader.ErrVersion, what)
		require.Less(t, len(err.Error()), 250, what)
		require.NotContains(t, err.Error(), "\x1b")
	}
}

func TestADigestInThePlaceOfAVersion(t *testing.T) {
	for _, digest := range []string{"sha256:" + strings.Repeat("a", 64), "sha512:" + strings.Repeat("a", 128)} {
		m := manifest()
		m.Image, m.Version = digest, bootloader.DigestVersion(digest)
		require.False(t, m.Named())
		_, err := bootloader.EncodeManifest(m)
		require.NoError(t, err)
	}
	require.True(t, manifest().Named())
}

// What cannot be a version is not written; what was written once is read.
func TestAManifestOfAnOddVersion(t *testing.T) {
	m := manifest()
	m.Version = "a b"
	_, err := bootloader.EncodeManifest(m)
	require.ErrorIs(t, err, bootloader.ErrVersion)
	data, err := bootloader.EncodeManifest(manifest())
	require.NoError(t, err)
	m, err = bootloader.DecodeManifest([]byte(strings.Replace(string(data), "1.2.3", "a b", 1)))
	require.NoError(t, err)
	require.Equal(t, "a b", m.Version)
}
