//go:build tools

package pack_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader/loadertest"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image/pack"
)

// The command-line tools that everybody has unpack each layer and find the files.
func TestCommonToolsUnpackTheLayers(t *testing.T) {
	for _, c := range []struct {
		pack.Compression
		command string
	}{{pack.Zstd, "zstd -dc"}, {pack.Gzip, "gzip -dc"}, {pack.None, "cat"}} {
		t.Run(c.String(), func(t *testing.T) {
			i := sample()
			i.Compression = c.Compression
			l := create(t)
			b := add(t, l, i, "v1")
			digest, err := v1.NewHash(b.Digest)
			require.NoError(t, err)
			var m v1.Manifest
			require.NoError(t, json.Unmarshal(cat(t, l, digest), &m))
			for n, d := range m.Layers {
				out := t.TempDir()
				blob := filepath.Join(l.Dir(), "blobs/sha256", d.Digest.Hex)
				text, err := exec.Command("sh", "-c", c.command+` < "$1" | tar -x -C "$2"`, "sh", blob,
					out).CombinedOutput()
				require.NoError(t, err, "%s", text)
				require.Empty(t, text)
				var want bytes.Buffer
				require.NoError(t, i.Assets[n].Write(&want))
				got, err := exec.Command("cat", filepath.Join(out, "usr/install/amd64", i.Assets[n].Name)).Output()
				require.NoError(t, err)
				require.Equal(t, want.Bytes(), got)
			}
		})
	}
}

func cat(t *testing.T, l *pack.Layout, h v1.Hash) []byte {
	t.Helper()
	data, err := exec.Command("cat", filepath.Join(l.Dir(), "blobs", h.Algorithm, h.Hex)).Output()
	require.NoError(t, err)
	return data
}

// Each section of a UKI is as it was once it is signed, those among them that others have signed or measured, and
// sbverify accepts it.
func TestSigningKeepsEachSection(t *testing.T) {
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key"), filepath.Join(dir, "cert")
	text, err := exec.Command("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=us",
		"-keyout", key, "-out", cert).CombinedOutput()
	require.NoError(t, err, "%s", text)
	signer, err := pack.ReadEFISigner(key, cert)
	require.NoError(t, err)
	var sections []uki.Section
	for _, name := range []string{".linux", ".initrd", ".ucode", ".dtb", ".sbat", ".pcrpkey", ".pcrsig", ".profile"} {
		sections = append(sections, uki.Bytes(name, []byte("what "+name+" has")))
	}
	stub := loadertest.Stub()
	var bare, signed bytes.Buffer
	_, err = uki.Assemble(&bare, io.NewSectionReader(bytes.NewReader(stub), 0, int64(len(stub))), sections...)
	require.NoError(t, err)
	asset, err := signer.Sign(pack.Data(pack.UKIAsset, bare.Bytes()))
	require.NoError(t, err)
	require.NoError(t, asset.Write(&signed))
	path := filepath.Join(dir, "signed.efi")
	require.NoError(t, os.WriteFile(path, signed.Bytes(), 0o600))
	text, err = exec.Command("sbverify", "--cert", cert, path).CombinedOutput()
	require.NoError(t, err, "%s", text)
	img, err := uki.Parse(bytes.NewReader(signed.Bytes()), int64(signed.Len()))
	require.NoError(t, err)
	for _, s := range sections {
		got, err := img.Section(s.Name)
		require.NoError(t, err)
		data, err := io.ReadAll(got.Data)
		require.NoError(t, err)
		require.Equal(t, "what "+s.Name+" has", string(data))
	}
}
