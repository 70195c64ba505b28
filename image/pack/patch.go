package pack

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/image/patches"
)

// PatchAnnotation is of a layer that holds a patch: see package [format].
const PatchAnnotation = format.PatchAnnotation

// patcher writes a layer with a patch while it is given the asset: an archive without a file, packed, and behind it the
// pieces of the patch and their table, each in a skippable frame.
type patcher struct {
	blob   *blob
	to     *sized
	diffID v1.Hash
	is     format.Patch
	maker  *patches.Maker
	piece  []byte
	packed []byte
	left   int64 // of the asset
}

type patchers []*patcher

// patchers are of those old assets of that name that are not the same twice.
func (l *Layout) patchers(a Asset, old []Old) (all patchers, err error) {
	seen := map[string]bool{}
	for _, o := range old {
		if o.Asset != a.Name || o.Size <= 0 {
			continue
		}
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(o, 0, o.Size)); err != nil {
			return all, fmt.Errorf("read the old %s: %w", o.Asset, err)
		}
		p := &patcher{left: a.Size, is: format.Patch{Asset: a.Name, Size: o.Size, SHA256: fmt.Sprintf("%x", h.Sum(nil))}}
		if seen[p.is.SHA256] {
			continue
		}
		seen[p.is.SHA256] = true
		if p.maker, err = patches.NewMaker(o, o.Size, a.Size); err != nil {
			return all, fmt.Errorf("read the old %s: %w", o.Asset, err)
		}
		if p.blob, err = l.createBlob(); err != nil {
			return all, err
		}
		all = append(all, p)
		if err := p.begin(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// begin writes the archive.
func (p *patcher) begin() error {
	p.to = &sized{Writer: p.blob}
	pack, err := zstd.NewWriter(p.to, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	h := sha256.New()
	if err := tar.NewWriter(io.MultiWriter(pack, h)).Close(); err != nil {
		return err
	}
	p.diffID = hashOf(h)
	err = pack.Close()
	p.is.Head = p.to.n
	return err
}

func (p *patcher) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), patches.Content-len(p.piece))
		p.piece, rest = append(p.piece, rest[:n]...), rest[n:]
		if p.left -= int64(n); p.left > 0 && len(p.piece) < patches.Content {
			continue
		}
		var err error
		if p.packed, err = p.maker.Piece(p.piece, p.packed); err == nil {
			err = skippable(p.to, p.packed)
		}
		if err != nil {
			return 0, fmt.Errorf("make a patch: %w", err)
		}
		p.piece = p.piece[:0]
	}
	return len(b), nil
}

// finish ends the patches of an asset that has this digest. One of itself is none. The note says what is left out.
func (all patchers) finish(sum string) (layers []layer, note string, err error) {
	for _, p := range all {
		if p.is.SHA256 == sum {
			continue
		}
		table := p.maker.Table().Encode()
		if len(table) > patches.MaxTable {
			note = fmt.Sprintf("the table of a patch would have %d bytes, and a node reads at most %d: there is no patch "+
				"against %s", len(table), patches.MaxTable, p.is.SHA256)
			continue
		}
		at, err := addTable(p.to, table)
		if err != nil {
			return nil, "", err
		}
		p.is.Table = *at
		digest, size, err := p.blob.commit()
		if err != nil {
			return nil, "", err
		}
		layers = append(layers, layer{diffID: p.diffID, descriptor: v1.Descriptor{MediaType: Zstd.mediaType(), Size: size,
			Digest: digest, Annotations: map[string]string{AssetAnnotation: "", PatchAnnotation: p.is.String()}}})
	}
	return layers, note, nil
}

// discard removes what was not committed.
func (all patchers) discard() {
	for _, p := range all {
		p.blob.discard()
	}
}
