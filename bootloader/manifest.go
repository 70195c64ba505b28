package bootloader

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ManifestFormat is the version of the manifest's encoding that this package writes, and the only one it reads.
const ManifestFormat = 1

// ErrManifest is returned when bytes are not a manifest that this package understands. Do: treat the slot as not
// complete.
var ErrManifest = errors.New("not a slot manifest")

// Manifest says what a slot holds. It is written after everything else in the slot, so a manifest that decodes and
// whose files match marks the slot complete.
type Manifest struct {
	Format    int    `json:"format"`
	Version   string `json:"version"`             // the operating system's version, as its image states it
	Image     string `json:"image"`               // digest of the installer image, "sha256:" and 64 hex digits
	Reference string `json:"reference,omitempty"` // the reference it was asked for by, for people
	Arch      string `json:"arch"`                // GOARCH
	Files     []File `json:"files"`               // without the manifest itself
}

// File is one file of a slot.
type File struct {
	Name   string `json:"name"`   // in the slot's directory
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hex digits
}

// EncodeManifest returns m as indented JSON with a final newline. The format is set to ManifestFormat. A version that
// CheckVersion refuses is ErrVersion: it can be read where an earlier program wrote it, and is not written.
func EncodeManifest(m Manifest) ([]byte, error) {
	m.Format = ManifestFormat
	err := m.check()
	if err == nil {
		err = CheckVersion(m.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return append(data, '\n'), nil
}

// DecodeManifest reads what EncodeManifest wrote. Anything else, unknown fields and trailing bytes included, is
// ErrManifest.
func DecodeManifest(data []byte) (Manifest, error) {
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %v: %w", err, ErrManifest)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Manifest{}, fmt.Errorf("decode manifest: bytes after the end: %w", ErrManifest)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	return m, nil
}

func (m Manifest) check() error {
	switch {
	case m.Format != ManifestFormat:
		return fmt.Errorf("format %d, want %d: %w", m.Format, ManifestFormat, ErrManifest)
	case m.Version == "":
		return fmt.Errorf("no version: %w", ErrManifest)
	case len(m.Files) == 0:
		return fmt.Errorf("no files: %w", ErrManifest)
	}
	for _, f := range m.Files {
		sum, err := hex.DecodeString(f.SHA256)
		if f.Name == "" || strings.ContainsAny(f.Name, `/\`) || f.Name == "." || f.Name == ".." || f.Size <= 0 ||
			err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("file %q of %d bytes, digest %q: %w", f.Name, f.Size, f.SHA256, ErrManifest)
		}
	}
	return nil
}
