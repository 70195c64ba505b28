package disk

import (
	"encoding/binary"
	"fmt"
	"io"
)

const vhdMaxTable = 4 << 20 // entries: 16 MiB of memory

// vhdReader is a VHD that is read. Bitmaps are not looked at: what they call unused is zero in the block too.
type vhdReader struct {
	f     io.ReaderAt
	size  int64
	block int64    // 0: fixed
	table []uint32 // sectors of the file
}

func readVHD(f io.ReaderAt, file int64) (*vhdReader, error) {
	if file < vhdFooter {
		return nil, within("the footer", file-vhdFooter, vhdFooter, file)
	}
	end := make([]byte, vhdFooter)
	if err := fill(f, end, file-vhdFooter, "the footer"); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	v := &vhdReader{f: f, size: int64(be.Uint64(end[48:]))}
	kind := be.Uint32(end[vhdTypeAt:])
	switch {
	case string(end[:8]) != vhdMagic: // that of a dynamic one is at both ends
		return nil, fmt.Errorf("there is no footer at its end: %w", ErrTruncated)
	case !summed(end, vhdCheckAt):
		return nil, fmt.Errorf("the footer's checksum is wrong: %w", ErrFormat)
	case kind == vhdDiffers:
		return nil, fmt.Errorf("it holds the difference to another disk, without which it is not whole: %w", ErrFormat)
	case kind != vhdFixed && kind != vhdDynamic:
		return nil, fmt.Errorf("a VHD of type %d, want 2 (fixed) or 3 (dynamic): %w", kind, ErrFormat)
	case v.size <= 0 || v.size%512 != 0 || v.size > 2040*gib:
		return nil, fmt.Errorf("a disk of %d bytes: %w", v.size, ErrFormat)
	case kind == vhdFixed:
		return v, within("the end of the disk", 0, v.size, file-vhdFooter)
	}
	return v, v.dynamic(int64(be.Uint64(end[16:])), file)
}

// dynamic reads header and table.
func (v *vhdReader) dynamic(at, file int64) error {
	if err := within("the header", at, vhdHeader, file); err != nil {
		return err
	}
	h := make([]byte, vhdHeader)
	if err := fill(v.f, h, at, "the header"); err != nil {
		return err
	}
	be := binary.BigEndian
	block := int64(be.Uint32(h[32:]))
	switch {
	case string(h[:8]) != vhdSparse || !summed(h, vhdCheck2At):
		return fmt.Errorf("the header is none, or its checksum is wrong: %w", ErrFormat)
	case block < 512 || block&(block-1) != 0:
		return fmt.Errorf("blocks of %d bytes: %w", block, ErrFormat)
	}
	n := (v.size + block - 1) / block
	if n > vhdMaxTable || n > int64(be.Uint32(h[28:])) {
		return fmt.Errorf("%d blocks for a disk of %d bytes: %w", be.Uint32(h[28:]), v.size, ErrFormat)
	}
	v.block = block
	where := int64(be.Uint64(h[16:]))
	if err := within("the table of blocks", where, n*4, file); err != nil {
		return err
	}
	table := make([]byte, n*4)
	if err := fill(v.f, table, where, "the table of blocks"); err != nil {
		return err
	}
	for i := range n {
		sector := be.Uint32(table[i*4:])
		v.table = append(v.table, sector)
		if sector == vhdUnused {
			continue
		}
		if err := within("a block", v.place(sector), block, file); err != nil {
			return err
		}
	}
	return nil
}

// place is where the bytes of a block are: behind its bitmap.
func (v *vhdReader) place(sector uint32) int64 {
	bitmap := (v.block/512/8 + 511) / 512 * 512
	return int64(sector)*512 + bitmap
}

// summed reports whether the checksum at a place is that of the rest.
func summed(p []byte, at int) bool {
	want := binary.BigEndian.Uint32(p[at:])
	rest := append([]byte{}, p...)
	clear(rest[at : at+4])
	return vhdSum(rest) == want
}

// Size is that of the disk.
func (v *vhdReader) Size() int64 { return v.size }

// ReadAt follows [io.ReaderAt].
func (v *vhdReader) ReadAt(p []byte, off int64) (int, error) {
	if v.block == 0 {
		return readPieces(p, off, v.size, 1<<62, func(p []byte, off int64) error {
			return fill(v.f, p, off,
				"the disk")
		})
	}
	return readPieces(p, off, v.size, v.block, func(p []byte, off int64) error {
		sector := v.table[off/v.block]
		if sector == vhdUnused {
			clear(p)
			return nil
		}
		return fill(v.f, p, v.place(sector)+off%v.block, "a block")
	})
}
