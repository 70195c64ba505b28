package verity

import (
	"context"
	"fmt"
	"io"
)

// Reader reads data and gives out only what a root hash vouches for. One goroutine at a time may use it.
type Reader struct {
	data, tree io.ReaderAt
	super      Superblock
	root       Hash
	hash       *hasher
	levels     []level
	cached     []cached // of each level the block that was checked last
	block      []byte   // of data, checked
}

// cached is a block of the tree that was found to be as it should.
type cached struct {
	number int64 // on its level; -1: none
	bytes  []byte
}

// NewReader returns one over data and tree, which begins with its superblock. A tree that is none is [ErrFormat]; what
// is corrupt shows itself when it is read. Data and tree stay the caller's.
func NewReader(data, tree io.ReaderAt, root Hash) (*Reader, error) {
	first := make([]byte, BlockSize)
	if _, err := readFull(tree, first, 0); err != nil {
		return nil, fmt.Errorf("open a hash tree: read its superblock: %w", err)
	}
	super, err := DecodeSuperblock(first)
	if err != nil {
		return nil, fmt.Errorf("open a hash tree: %w", err)
	}
	r := &Reader{data: data, tree: tree, super: super, root: root, hash: newHasher(super.Salt),
		levels: levels(super.DataBlocks), block: make([]byte, BlockSize)}
	for range r.levels {
		r.cached = append(r.cached, cached{-1, make([]byte, BlockSize)})
	}
	return r, nil
}

// OpenImage is NewReader of an image of so many bytes whose tree is appended to it. A superblock that is of other data
// than those in front of it is [ErrFormat].
func OpenImage(image io.ReaderAt, size int64, root Hash) (*Reader, error) {
	data, err := Split(size)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	r, err := NewReader(image, io.NewSectionReader(image, data, size-data), root)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	if r.Size() != data {
		return nil, fmt.Errorf("open image: its hash tree is of %d bytes of data, in front of it are %d: %w", r.Size(), data,
			ErrFormat)
	}
	return r, nil
}

// Superblock is the tree's own.
func (r *Reader) Superblock() Superblock { return r.super }

// Size is how many bytes of data there are.
func (r *Reader) Size() int64 { return r.super.DataBlocks * BlockSize }

// ReadAt implements [io.ReaderAt]. Of a block that is not as it should be no byte is given out, and the error is
// [ErrCorrupt].
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: before the begin", off)
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= r.Size() {
			return n, io.EOF
		}
		if err := r.load(at / BlockSize); err != nil {
			return n, err
		}
		n += copy(p[n:], r.block[at%BlockSize:])
	}
	return n, nil
}

// load reads and checks a block of data.
func (r *Reader) load(number int64) error {
	if _, err := readFull(r.data, r.block, number*BlockSize); err != nil {
		return fmt.Errorf("read block %d of the data: %w", number, err)
	}
	want, err := r.digest(0, number)
	if err != nil {
		return err
	}
	if got := r.hash.sum(r.block); got != want {
		return fmt.Errorf("block %d of the data has the digest %s, want %s: %w", number, got, want, ErrCorrupt)
	}
	return nil
}

// digest is what a level says of a block below it, once the level's own block is checked.
func (r *Reader) digest(i int, below int64) (Hash, error) {
	if i == len(r.levels) {
		return r.root, nil
	}
	number := below / fanout
	c := &r.cached[i]
	if c.number != number {
		want, err := r.digest(i+1, number)
		if err != nil {
			return Hash{}, err
		}
		c.number = -1
		at := r.levels[i].at + number
		if _, err := readFull(r.tree, c.bytes, at*BlockSize); err != nil {
			return Hash{}, fmt.Errorf("read block %d of the hash tree: %w", at, err)
		}
		if got := r.hash.sum(c.bytes); got != want {
			return Hash{}, fmt.Errorf("block %d of the hash tree has the digest %s, want %s: %w", at, got, want, ErrCorrupt)
		}
		c.number = number
	}
	return Hash(c.bytes[below%fanout*int64(len(Hash{})):]), nil
}

// Check reads everything and returns the first thing that is wrong: [ErrCorrupt], or what reading said.
func (r *Reader) Check(ctx context.Context) error {
	for number := range r.super.DataBlocks {
		if number%fanout == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("check image: %w", err)
			}
		}
		if err := r.load(number); err != nil {
			return fmt.Errorf("check image: %w", err)
		}
	}
	return nil
}

// readFull reads all of p; less is io.ErrUnexpectedEOF.
func readFull(from io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := from.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
