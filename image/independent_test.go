package image_test

// A reader of layers that knows docs/reference/image-format.md and nothing of this module: it takes a layout apart by
// the names and numbers that stand there. Only the test at the end uses what made the layout.

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// foreignLayer is a layer as the document describes it.
type foreignLayer struct {
	blob   []byte
	asset  string
	head   int64
	pieces []string // sha256 of each MiB
	table  []byte

	old      string // sha256 of the old asset that a patch is for; "" of a layer with an asset
	oldBytes int64
}

// foreignLayers reads the layers of the only image in a layout.
func foreignLayers(dir string) (all []foreignLayer, err error) {
	var index, manifest struct {
		Manifests []struct{ Digest string }
		Layers    []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	blob := func(digest string) ([]byte, error) {
		return os.ReadFile(filepath.Join(dir, "blobs", strings.Replace(digest, ":", "/", 1)))
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err == nil {
		raw, err = blob(index.Manifests[0].Digest)
	}
	if err == nil {
		err = json.Unmarshal(raw, &manifest)
	}
	for _, l := range manifest.Layers {
		var frames struct {
			Head   int64
			Sha256 []string
		}
		type place struct {
			Offset, Size int64
			Sha256       string
		}
		var chunks place
		var patch struct {
			Asset, Sha256 string
			Size, Head    int64
			Table         place
		}
		f := foreignLayer{asset: l.Annotations["org.pawl-os.asset"]}
		f.blob, err = blob(l.Digest)
		if text, ok := l.Annotations["org.pawl-os.patch"]; ok && f.asset == "" {
			err = errors.Join(err, json.Unmarshal([]byte(text), &patch))
			chunks, frames.Head = patch.Table, patch.Head
			f.asset, f.old, f.oldBytes = patch.Asset, patch.Sha256, patch.Size
		} else {
			err = errors.Join(err, json.Unmarshal([]byte(l.Annotations["org.pawl-os.frames"]), &frames))
			err = errors.Join(err, json.Unmarshal([]byte(l.Annotations["org.pawl-os.chunks"]), &chunks))
		}
		if err == nil {
			f.table = f.blob[chunks.Offset:][:chunks.Size]
			if fmt.Sprintf("%x", sha256.Sum256(f.table)) != chunks.Sha256 {
				err = errors.New("the table has another digest")
			}
			start := f.blob[chunks.Offset-8:]
			if binary.LittleEndian.Uint32(start) != 0x184D2A5C || int64(binary.LittleEndian.Uint32(start[4:])) != chunks.Size {
				err = errors.New("the table is in no skippable frame")
			}
		}
		if err != nil {
			return nil, err
		}
		f.head, f.pieces = frames.Head, frames.Sha256
		all = append(all, f)
	}
	return all, err
}

// content unpacks each frame by itself, and holds chunks and pieces to what the table and the manifest say.
func (f foreignLayer) content() ([]byte, error) {
	t := f.table
	size, frames, chunks := binary.LittleEndian.Uint64(t[8:]), binary.LittleEndian.Uint32(t[16:]),
		binary.LittleEndian.Uint32(t[20:])
	if string(t[:8]) != "PAWLCHK1" || len(t) != 24+8*int(frames)+20*int(chunks) {
		return nil, errors.New("no table")
	}
	var all []byte
	at := f.head
	for k := range frames {
		entry := t[24+8*k:]
		has, packed := binary.LittleEndian.Uint32(entry), int64(binary.LittleEndian.Uint32(entry[4:]))
		d, err := zstd.NewReader(nil)
		if err != nil {
			return nil, err
		}
		p, err := d.DecodeAll(f.blob[at:at+packed], nil)
		d.Close()
		if err != nil || len(p) != int(has) || len(all)%(1<<20)+len(p) > 1<<20 {
			return nil, fmt.Errorf("frame %d has %d bytes: %w", k, len(p), err)
		}
		all, at = append(all, p...), at+packed
	}
	if len(all) != int(size) {
		return nil, fmt.Errorf("%d bytes of %d", len(all), size)
	}
	rest := all
	for k := range chunks {
		entry := t[24+8*frames+20*k:]
		n := foreignCut(rest)
		if sum := sha256.Sum256(rest[:n]); n != int(binary.LittleEndian.Uint32(entry)) ||
			!bytes.Equal(sum[:16], entry[4:20]) {
			return nil, fmt.Errorf("chunk %d ends elsewhere, or has another sum", k)
		}
		rest = rest[n:]
	}
	for k, sum := range f.pieces {
		piece := all[k<<20 : min((k+1)<<20, len(all))]
		if fmt.Sprintf("%x", sha256.Sum256(piece)) != sum {
			return nil, fmt.Errorf("piece %d has another digest", k)
		}
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%d bytes in no chunk", len(rest))
	}
	return all, nil
}

// patched makes the asset of the old one, by a patch.
func (f foreignLayer) patched(old []byte) (all []byte, err error) {
	t := f.table
	size, pieces, ranges := binary.LittleEndian.Uint64(t[8:]), binary.LittleEndian.Uint32(t[24:]),
		binary.LittleEndian.Uint32(t[28:])
	if string(t[:8]) != "PAWLPAT1" || binary.LittleEndian.Uint64(t[16:]) != uint64(f.oldBytes) ||
		len(t) != 32+8*int(pieces)+12*int(ranges) || fmt.Sprintf("%x", sha256.Sum256(old)) != f.old {
		return nil, errors.New("no table, or not of this")
	}
	at, r := f.head, t[32+8*pieces:]
	for k := range pieces {
		packed, n := int64(binary.LittleEndian.Uint32(t[32+8*k:])), binary.LittleEndian.Uint32(t[36+8*k:])
		var dictionary []byte
		for range n {
			first := binary.LittleEndian.Uint64(r)
			dictionary = append(dictionary, old[first:first+uint64(binary.LittleEndian.Uint32(r[8:]))]...)
			r = r[12:]
		}
		if binary.LittleEndian.Uint32(f.blob[at:]) != 0x184D2A5C || int64(binary.LittleEndian.Uint32(f.blob[at+4:])) != packed {
			return nil, fmt.Errorf("piece %d is in no skippable frame", k)
		}
		p, err := foreignUnpack(f.blob[at+8:][:packed], dictionary)
		if err != nil || len(p) != int(min(1<<20, size-uint64(k)<<20)) {
			return nil, fmt.Errorf("piece %d has %d bytes: %w", k, len(p), err)
		}
		all, at = append(all, p...), at+8+packed
	}
	return all, nil
}

// foreignUnpack unpacks a frame.
func foreignUnpack(packed, dictionary []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, dictionary))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(packed, nil)
}

// foreignCut is where the first chunk of p ends.
func foreignCut(p []byte) int {
	if len(p) <= 4096 {
		return len(p)
	}
	h := uint64(0)
	for i := 4096; i < len(p); i++ {
		sum := sha256.Sum256(p[i : i+1])
		h = 2*h + binary.LittleEndian.Uint64(sum[:8])
		if i < 16384 && h>>48 == 0 || i >= 16384 && h>>52 == 0 || i+1 == 65536 {
			return i + 1
		}
	}
	return len(p)
}

func TestAReaderThatKnowsOnlyTheDocument(t *testing.T) {
	want := append(root(2<<20+1234, "a root"), make([]byte, 300_000)...)
	dir := withRoot(t, want)
	layers, err := foreignLayers(dir)
	require.NoError(t, err)
	require.Len(t, layers, 1)
	require.Equal(t, "images/root", layers[0].asset)
	got, err := layers[0].content()
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got))

	for name, edit := range map[string]func(*foreignLayer){
		"a frame":  func(l *foreignLayer) { l.blob[l.head+1000] ^= 1 },
		"a chunk":  func(l *foreignLayer) { l.table[len(l.table)-1] ^= 1 },
		"a piece":  func(l *foreignLayer) { l.pieces[1] = l.pieces[0] },
		"the size": func(l *foreignLayer) { l.table[8] ^= 1 },
	} {
		bad := layers[0]
		bad.blob, bad.table = bytes.Clone(bad.blob), bytes.Clone(bad.table)
		bad.pieces = append([]string{}, bad.pieces...)
		edit(&bad)
		_, err := bad.content()
		require.Error(t, err, name)
	}
}

func TestAReaderThatKnowsOnlyTheDocumentPatches(t *testing.T) {
	dir, d := newPatch(t)
	layers, err := foreignLayers(dir)
	require.NoError(t, err)
	require.Len(t, layers, 2)
	require.Equal(t, "images/root", layers[1].asset)
	got, err := layers[1].patched(d.old)
	require.NoError(t, err)
	require.True(t, bytes.Equal(d.new, got))
	_, err = layers[1].patched(d.new)
	require.Error(t, err)
}
