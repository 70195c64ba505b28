// Package verity makes and checks the hash tree by which Linux's dm-verity trusts every block of an image while it is
// read.
//
// Start with NewBuilder, which makes a tree while the data stream through it, or with NewReader, which reads data and
// gives out only what the root hash vouches for. The tree is as veritysetup makes it: format 1, SHA-256, blocks of
// 4,096 bytes, a superblock in front. An image may have its tree appended to it: Size, Split and [OpenImage] know where
// it lies.
//
// It guarantees that no byte of data or tree changes unnoticed: only the UUID in the superblock, a name, is covered by
// no hash. It needs a block of memory a level, whatever the image's size. It opens no device and knows no kernel.
// Signatures of a root hash are not its business.
//
// Specification: Linux, Documentation/admin-guide/device-mapper/verity.rst, "Hash Tree"; for the superblock
// cryptsetup, the page "DMVerity" of its wiki.
package verity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

const (
	// BlockSize is the size of a block of data, and of one of the tree, in bytes.
	BlockSize = 4096
	// MaxBlocks is how many blocks of data there may be: 4 PiB.
	MaxBlocks = 1 << 40

	fanout = BlockSize / sha256.Size // digests in a block of the tree
)

var (
	// ErrFormat is returned when there is no superblock, or one of another format. Do: take the image for one without
	// a tree of this kind.
	ErrFormat = errors.New("not a hash tree of dm-verity in format 1 with SHA-256 and blocks of 4096 bytes")
	// ErrCorrupt is returned when data or tree are not what the root hash vouches for. Do: not use the image.
	ErrCorrupt = errors.New("not what the root hash vouches for")
)

// Hash is a root hash, or the digest of a block.
type Hash [sha256.Size]byte

// String is 64 hex digits in lower case.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String wrote; capital digits are read too.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != hex.EncodedLen(len(h)) {
		return h, fmt.Errorf("parse root hash: %d characters, want %d hex digits", len(s), hex.EncodedLen(len(h)))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse root hash %q: %w", s, err)
	}
	return h, nil
}

// level is where the digests of one level lie.
type level struct {
	at     int64 // the first block, counted from the superblock
	blocks int64
}

// levels are those of a tree, the one over the data first. One block of data has none: its digest is the root hash.
// They lie on the disk from the top down, behind the superblock.
func levels(dataBlocks int64) []level {
	var all []level
	for n := dataBlocks; n > 1; {
		n = (n + fanout - 1) / fanout
		all = append(all, level{blocks: n})
	}
	at := int64(1)
	for i := len(all) - 1; i >= 0; i-- {
		all[i].at = at
		at += all[i].blocks
	}
	return all
}

// Size is how many bytes superblock and tree of so many bytes of data take. The data are whole blocks, at least one.
func Size(data int64) (int64, error) {
	if err := checkSize(data); err != nil {
		return 0, err
	}
	n := int64(1)
	for _, l := range levels(data / BlockSize) {
		n += l.blocks
	}
	return n * BlockSize, nil
}

func checkSize(data int64) error {
	if data <= 0 || data%BlockSize != 0 || data/BlockSize > MaxBlocks {
		return fmt.Errorf("%d bytes of data, want whole blocks of %d, from 1 to %d of them", data, BlockSize,
			int64(MaxBlocks))
	}
	return nil
}

// Split is the size of the data in an image to which a superblock and a tree are appended: of those sizes that are
// possible exactly one adds up to the whole.
func Split(whole int64) (data int64, err error) {
	low, high := int64(1), int64(MaxBlocks) // sizes grow with the data, so halves find it
	for low <= high {
		blocks := low + (high-low)/2
		tree, err := Size(blocks * BlockSize)
		if err != nil {
			return 0, err
		}
		switch sum := blocks*BlockSize + tree; {
		case sum == whole:
			return blocks * BlockSize, nil
		case sum < whole:
			low = blocks + 1
		default:
			high = blocks - 1
		}
	}
	return 0, fmt.Errorf("no data with a hash tree behind it take %d bytes: %w", whole, ErrFormat)
}

// Builder makes a tree while its data stream through it.
type Builder struct {
	out    io.WriterAt
	hash   *hasher
	super  Superblock
	levels []level
	open   [][]byte // of each level the block that fills
	done   []int64  // of each level the blocks that are written
	data   []byte   // of the data the block that fills
	seen   int64    // blocks of data
	top    Hash
	err    error
}

// NewBuilder returns one for data of super.DataBlocks blocks. Superblock and tree go to out, whole blocks at their
// place from offset 0 on. Where the tree is appended to its image that is an offset of the image: [io.NewOffsetWriter].
func NewBuilder(out io.WriterAt, super Superblock) (*Builder, error) {
	first, err := super.Encode()
	if err != nil {
		return nil, fmt.Errorf("make a hash tree: %w", err)
	}
	if _, err := out.WriteAt(first, 0); err != nil {
		return nil, fmt.Errorf("make a hash tree: write its superblock: %w", err)
	}
	b := &Builder{out: out, hash: newHasher(super.Salt), super: super, levels: levels(super.DataBlocks)}
	b.open = make([][]byte, len(b.levels))
	for i := range b.open {
		b.open[i] = make([]byte, 0, BlockSize)
	}
	b.done = make([]int64, len(b.levels))
	return b, nil
}

// Write takes the next bytes of the data, in pieces of any size.
func (b *Builder) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && b.err == nil {
		if len(b.data) == 0 && len(p) >= BlockSize {
			b.block(p[:BlockSize])
			p = p[BlockSize:]
			continue
		}
		take := min(len(p), BlockSize-len(b.data))
		b.data = append(b.data, p[:take]...)
		p = p[take:]
		if len(b.data) == BlockSize {
			b.block(b.data)
			b.data = b.data[:0]
		}
	}
	return n - len(p), b.err
}

// block takes a block of data.
func (b *Builder) block(data []byte) {
	if b.seen++; b.seen > b.super.DataBlocks {
		b.err = fmt.Errorf("make a hash tree: more data than the %d blocks that were announced", b.super.DataBlocks)
		return
	}
	b.digest(0, b.hash.sum(data))
}

// digest puts the digest of a block below a level into it. A block that is full is written, and its digest goes up.
func (b *Builder) digest(i int, h Hash) {
	if i == len(b.levels) {
		b.top = h
		return
	}
	b.open[i] = append(b.open[i], h[:]...)
	if len(b.open[i]) == BlockSize {
		b.flush(i)
	}
}

// flush writes the block that fills on a level, with zeros behind its digests.
func (b *Builder) flush(i int) {
	block := b.open[i][:BlockSize]
	clear(block[len(b.open[i]):])
	if _, err := b.out.WriteAt(block, (b.levels[i].at+b.done[i])*BlockSize); err != nil && b.err == nil {
		b.err = fmt.Errorf("make a hash tree: write it: %w", err)
	}
	b.done[i]++
	b.open[i] = b.open[i][:0]
	b.digest(i+1, b.hash.sum(block))
}

// Finish writes the rest of the tree and returns its root hash. Less data than were announced is an error.
func (b *Builder) Finish() (Hash, error) {
	if b.err == nil && (b.seen != b.super.DataBlocks || len(b.data) > 0) {
		b.err = fmt.Errorf("make a hash tree: %d blocks and %d bytes of data, but %d blocks were announced", b.seen,
			len(b.data), b.super.DataBlocks)
	}
	for i := range b.levels {
		if b.err == nil && len(b.open[i]) > 0 {
			b.flush(i)
		}
	}
	return b.top, b.err
}
