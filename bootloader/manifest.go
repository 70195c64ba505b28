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

	"github.com/google/uuid"
)

// Versions of the manifest's encoding that this package writes, and the only ones it reads.
const (
	ManifestFormat = 1 // of a slot with files only
	ImagesFormat   = 2 // of a slot with images too: whoever knows only files must not boot half a system
)

// MaxImages is how many images a slot may have.
const MaxImages = 8

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

	Images []Image `json:"images,omitempty"` // in partitions of this slot; none in [ManifestFormat]
}

// File is one file of a slot.
type File struct {
	Name   string `json:"name"`   // in the slot's directory
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // 64 hex digits
}

// Image is a file system image in a partition of a slot. Each slot has a partition of its own for it: together they are
// a pair, and this is the one of the slot whose manifest it is.
type Image struct {
	Name      string    `json:"name"`             // what it is: [RootImage]; see CheckImageName
	Partition uuid.UUID `json:"partition"`        // GUID of the partition in the disk's table
	Size      int64     `json:"size"`             // bytes, from the partition's beginning on
	SHA256    string    `json:"sha256"`           // of all of them, 64 hex digits
	Verity    string    `json:"verity,omitempty"` // root hash of the tree that is appended: package verity; "": no tree
}

// RootImage is the name of the image that is the root file system.
const RootImage = "root"

// CheckImageName refuses what no image may be called: anything but 1 to 16 letters from a to z and digits, a letter
// first. The names become parts of labels and of kernel arguments.
func CheckImageName(name string) error {
	if len(name) < 1 || len(name) > 16 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" ||
		name[0] <= '9' {
		return fmt.Errorf("image %q: want 1 to 16 letters from a to z and digits, a letter first: %w", name, ErrManifest)
	}
	return nil
}

// FindImage is the image of that name; ok is false when the slot has none.
func (m Manifest) FindImage(name string) (i Image, ok bool) {
	for _, i := range m.Images {
		if i.Name == name {
			return i, true
		}
	}
	return Image{}, false
}

// EncodeManifest returns m as indented JSON with a final newline. The format is set to ManifestFormat, or ImagesFormat
// where there are images. A version that CheckVersion refuses is ErrVersion: it can be read where an earlier program
// wrote it, and is not written.
func EncodeManifest(m Manifest) ([]byte, error) {
	m.Format = m.format()
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

// DecodeManifest reads what [EncodeManifest] wrote. Anything else, unknown fields and trailing bytes included, is
// [ErrManifest].
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

// format is the one that fits what the manifest holds.
func (m Manifest) format() int {
	if len(m.Images) > 0 {
		return ImagesFormat
	}
	return ManifestFormat
}

func (m Manifest) check() error {
	switch {
	case m.Format != m.format():
		return fmt.Errorf("format %d with %d images, want %d: %w", m.Format, len(m.Images), m.format(), ErrManifest)
	case m.Images != nil && len(m.Images) == 0 || len(m.Images) > MaxImages:
		return fmt.Errorf("a list of %d images, want 1 to %d, or no list: %w", len(m.Images), MaxImages, ErrManifest)
	case m.Version == "":
		return fmt.Errorf("no version: %w", ErrManifest)
	case len(m.Files) == 0:
		return fmt.Errorf("no files: %w", ErrManifest)
	}
	for _, f := range m.Files {
		if f.Name == "" || strings.ContainsAny(f.Name, `/\`) || f.Name == "." || f.Name == ".." || f.Size <= 0 ||
			!isDigest(f.SHA256) {
			return fmt.Errorf("file %q of %d bytes, digest %q: %w", f.Name, f.Size, f.SHA256, ErrManifest)
		}
	}
	for n, i := range m.Images {
		if err := CheckImageName(i.Name); err != nil {
			return err
		}
		if i.Partition == uuid.Nil || i.Size <= 0 || !isDigest(i.SHA256) || i.Verity != "" && !isDigest(i.Verity) {
			return fmt.Errorf("image %s in partition %s, %d bytes, digest %q, root hash %q: %w", i.Name, i.Partition, i.Size,
				i.SHA256, i.Verity, ErrManifest)
		}
		for _, other := range m.Images[:n] {
			if other.Name == i.Name || other.Partition == i.Partition {
				return fmt.Errorf("images %s in partition %s and %s in %s: %w", other.Name, other.Partition, i.Name, i.Partition,
					ErrManifest)
			}
		}
	}
	return nil
}

// isDigest reports whether text is a SHA-256 in hex.
func isDigest(text string) bool {
	sum, err := hex.DecodeString(text)
	return err == nil && len(sum) == sha256.Size
}
