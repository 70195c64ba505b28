package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image/pack"
	"github.com/pawl-os/pawl/internal/harness/virtual"
)

// publicKey writes a key's public half.
func publicKey(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key.pub")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	return path
}

func TestInspectSaysWhatAnImageHolds(t *testing.T) {
	t.Parallel()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	ref, err := images.Reference("1.2.0", virtual.Spec{Annotations: map[string]string{"org.example.note": "a\x1bb"}})
	require.NoError(t, err)
	code, out, errs := pawl(t, nil, "inspect", ref, "--arch", "amd64")
	require.Zero(t, code, errs)
	for _, text := range []string{"version   1.2.0\n", "for       amd64\n", "file      vmlinuz.efi", "file      systemd-boot.efi",
		`org.example.note=a\x1bb`} {
		require.Contains(t, out, text)
	}
	require.NotContains(t, out, "whole")
	require.NotContains(t, out, "org.pawl-os.assets")
	require.NotContains(t, out, "signed")

	code, out, errs = pawl(t, nil, "inspect", ref, "--arch", "amd64", "--whole")
	require.Zero(t, code, errs)
	for _, text := range []string{"kernel 6.1.0\n", "arguments console=ttyS0 panic=1\n", "version 1.2.0\n", "for amd64\n",
		"every byte is what its digest says"} {
		require.Contains(t, out, text)
	}

	code, out, errs = pawl(t, nil, "inspect", ref, "--arch", "amd64", "-o", "json")
	require.Zero(t, code, errs)
	var told struct{ Image held }
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	require.Len(t, told.Image.Files, 2)
	for _, f := range told.Image.Files {
		require.Positive(t, f.Size)
		require.Len(t, f.SHA256, 64)
	}
	before := told
	code, out, errs = pawl(t, nil, "inspect", ref, "--arch", "amd64", "-o", "json", "--whole")
	require.Zero(t, code, errs)
	told = struct{ Image held }{}
	require.NoError(t, json.Unmarshal([]byte(out), &told))
	for i, f := range told.Image.Files {
		require.Equal(t, before.Image.Files[i].SHA256, f.SHA256, "what is listed is what is there")
	}
}

func TestInspectAsksForSignatures(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "images")
	layout, err := pack.Create(dir)
	require.NoError(t, err)
	built, err := layout.Add(t.Context(), pack.Image{Version: "1", Arch: "amd64",
		Assets: []pack.Asset{pack.Data(pack.UKIAsset, []byte("no program"))}})
	require.NoError(t, err)
	_, ours, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, theirs, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	require.NoError(t, layout.Tag("v1", built))
	ref := "oci:" + dir + ":v1"
	inspect := func(args ...string) (int, string, string) {
		return pawl(t, nil, append([]string{"inspect", ref, "--arch", "amd64"}, args...)...)
	}
	code, _, errs := inspect("--key", publicKey(t, ours))
	require.Equal(t, exitError, code)
	require.Contains(t, errs, "it is not signed")
	require.NoError(t, layout.Sign(built, ours, "os"))
	code, out, errs := inspect("--key", publicKey(t, ours), "--whole")
	require.Zero(t, code, errs)
	require.Contains(t, out, "signed    by ")
	require.Contains(t, out, "not a whole PE32+ image", "what is no program is said")
	code, out, errs = inspect("--key", publicKey(t, ours), "--key", publicKey(t, theirs))
	require.Equal(t, exitError, code)
	require.Empty(t, out)
	require.Contains(t, errs, "no signature is by the key")
}

func TestInspectThatCannot(t *testing.T) {
	t.Parallel()
	images, err := virtual.NewImages(t.Context(), t.TempDir())
	require.NoError(t, err)
	ref, err := images.Reference("1.2.0", virtual.Spec{})
	require.NoError(t, err)
	blobs, err := filepath.Glob(filepath.Join(images.Dir(), "blobs", "sha256", "*"))
	require.NoError(t, err)
	code, _, errs := pawl(t, nil, "inspect", ref, "--arch", "amd64", "--whole")
	require.Zero(t, code, errs)
	for _, blob := range blobs { // a byte of what is large enough to be a layer
		data, err := os.ReadFile(blob)
		require.NoError(t, err)
		if data[0] == '{' {
			continue
		}
		data[len(data)/2] ^= 1
		require.NoError(t, os.WriteFile(blob, data, 0o600))
	}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no image":             {nil, exitUsage, "inspect takes one image"},
		"two":                  {[]string{"a", "b"}, exitUsage, "inspect takes one image"},
		"no such image":        {[]string{"oci:" + t.TempDir()}, exitError, ""},
		"no reference":         {[]string{"://"}, exitError, "not a reference"},
		"another architecture": {[]string{ref, "--arch", "arm64"}, exitError, "not made for this platform"},
		"no key":               {[]string{ref, "--arch", "amd64", "--key", "/no/key"}, exitError, "/no/key"},
		"bytes that changed":   {[]string{ref, "--arch", "amd64", "--whole"}, exitError, "bytes"},
		"no such file":         {[]string{ref, "--registries", "/no/file"}, exitUsage, "/no/file"},
	} {
		code, out, errs := pawl(t, nil, append([]string{"inspect"}, test.args...)...)
		require.Equal(t, test.code, code, "%s: %s", name, errs)
		require.Contains(t, errs, test.says, name)
		require.Empty(t, out, name)
	}
}
