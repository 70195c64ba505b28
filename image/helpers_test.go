package image_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
)

// manifestOf reads the manifest that the layout's only entry names.
func manifestOf(t testing.TB, dir string) ([]byte, *v1.Manifest) {
	t.Helper()
	var index v1.IndexManifest
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	require.Len(t, index.Manifests, 1)
	var m v1.Manifest
	raw := readJSON(t, filepath.Join(dir, "blobs/sha256", index.Manifests[0].Digest.Hex), &m)
	return raw, &m
}

func configOf(t testing.TB, dir string, m *v1.Manifest) v1.ConfigFile {
	t.Helper()
	var c v1.ConfigFile
	readJSON(t, filepath.Join(dir, "blobs/sha256", m.Config.Digest.Hex), &c)
	return c
}

func readJSON(t testing.TB, name string, value any) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, value))
	return raw
}
