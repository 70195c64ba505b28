package verity

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// Offsets in the superblock, which is the first block of a tree. Numbers are little-endian.
const (
	offMagic     = 0  // "verity" and two NULs
	offVersion   = 8  // 4 bytes: 1
	offFormat    = 12 // 4 bytes: 1, the salt is in front of a block's bytes
	offUUID      = 16 // 16 bytes
	offAlgorithm = 32 // 32 bytes, NULs behind it: "sha256"
	offDataSize  = 64 // 4 bytes: 4096
	offHashSize  = 68 // 4 bytes: 4096
	offBlocks    = 72 // 8 bytes
	offSaltSize  = 80 // 2 bytes, then 6 of nothing
	offSalt      = 88 // up to 256 bytes; all from its end on is zero
)

const (
	magic     = "verity\x00\x00"
	algorithm = "sha256"
)

// MaxSalt is the length of the longest salt, in bytes.
const MaxSalt = 256

// Superblock says what a tree is of.
type Superblock struct {
	UUID       [16]byte // a name, in the order of its text form; no hash covers it
	DataBlocks int64    // from 1 to MaxBlocks
	Salt       []byte   // in front of every block that is hashed; up to MaxSalt bytes, perhaps none
}

// Encode returns the first block of a tree.
func (s Superblock) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("encode superblock: %w", err)
	}
	b := make([]byte, BlockSize)
	copy(b[offMagic:], magic)
	binary.LittleEndian.PutUint32(b[offVersion:], 1)
	binary.LittleEndian.PutUint32(b[offFormat:], 1)
	copy(b[offUUID:], s.UUID[:])
	copy(b[offAlgorithm:], algorithm)
	binary.LittleEndian.PutUint32(b[offDataSize:], BlockSize)
	binary.LittleEndian.PutUint32(b[offHashSize:], BlockSize)
	binary.LittleEndian.PutUint64(b[offBlocks:], uint64(s.DataBlocks))
	binary.LittleEndian.PutUint16(b[offSaltSize:], uint16(len(s.Salt)))
	copy(b[offSalt:], s.Salt)
	return b, nil
}

func (s Superblock) check() error {
	switch {
	case s.DataBlocks < 1 || s.DataBlocks > MaxBlocks:
		return fmt.Errorf("%d blocks of data, want 1 to %d", s.DataBlocks, int64(MaxBlocks))
	case len(s.Salt) > MaxSalt:
		return fmt.Errorf("a salt of %d bytes, at most %d are possible", len(s.Salt), MaxSalt)
	}
	return nil
}

// DecodeSuperblock reads what Encode wrote, [BlockSize] bytes. Anything else, bytes that are not zero where nothing is
// included, is [ErrFormat].
func DecodeSuperblock(b []byte) (Superblock, error) {
	if len(b) != BlockSize || string(b[offMagic:offMagic+len(magic)]) != magic {
		return Superblock{}, fmt.Errorf("decode superblock: %d bytes, or no %q at their begin: %w", len(b), magic,
			ErrFormat)
	}
	s := Superblock{
		UUID:       [16]byte(b[offUUID:]),
		DataBlocks: int64(binary.LittleEndian.Uint64(b[offBlocks:])),
	}
	n := binary.LittleEndian.Uint16(b[offSaltSize:])
	s.Salt = append(s.Salt, b[offSalt:offSalt+min(int(n), MaxSalt)]...)
	again, err := s.Encode()
	if err != nil {
		return Superblock{}, fmt.Errorf("decode superblock: %v: %w", err, ErrFormat)
	}
	for i := range again {
		if again[i] != b[i] {
			return Superblock{}, fmt.Errorf("decode superblock: byte %d is %#02x, want %#02x: %w", i, b[i], again[i],
				ErrFormat)
		}
	}
	return s, nil
}

// hasher makes the digests of blocks.
type hasher struct {
	hash.Hash
	salt []byte
}

func newHasher(salt []byte) *hasher { return &hasher{sha256.New(), salt} }

func (h *hasher) sum(block []byte) (out Hash) {
	h.Reset()
	h.Write(h.salt) // a hash's Write has no error
	h.Write(block)
	h.Sum(out[:0])
	return out
}
