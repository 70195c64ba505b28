package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"
)

// The VHD format, as Microsoft's "Virtual Hard Disk Image Format Specification" 1.0 has it. All numbers are big-endian.
//
//	footer, 512 bytes                     header of a dynamic disk, 1024 bytes
//	0  "conectix"      48 size            0  "cxsparse"
//	8  features (2)    56 geometry        8  nothing: all ones
//	12 version         60 type            16 table
//	16 header          64 checksum        24 version
//	24 time            68 unique id       28 entries of the table
//	28 creator         84 saved state     32 bytes of a block
//	40 original size                      36 checksum
//
// A fixed disk is its bytes and a footer. A dynamic one is a copy of the footer, header, table, blocks, footer; a block
// is a bitmap of its sectors and its bytes.
const (
	vhdMagic    = "conectix"
	vhdSparse   = "cxsparse"
	vhdFooter   = 512
	vhdHeader   = 1024
	vhdBlock    = 2 * mib
	vhdBitmap   = 512
	vhdVersion  = 0x00010000
	vhdUnused   = ^uint32(0)
	vhdFixed    = 2
	vhdDynamic  = 3
	vhdDiffers  = 4
	vhdTypeAt   = 60
	vhdCheckAt  = 64
	vhdCheck2At = 36
)

var vhdEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// footer describes the disk. The creator is Windows's, since readers take the size of another's from the geometry,
// which is another size.
func footer(size int64, kind uint32, o WriteOptions) []byte {
	f := make([]byte, vhdFooter)
	be := binary.BigEndian
	copy(f, vhdMagic)
	be.PutUint32(f[8:], 2)
	be.PutUint32(f[12:], vhdVersion)
	be.PutUint64(f[16:], ^uint64(0))
	if kind == vhdDynamic {
		be.PutUint64(f[16:], vhdFooter)
	}
	be.PutUint32(f[24:], uint32(max(0, min(o.Time.Unix()-vhdEpoch.Unix(), 1<<32-1))))
	copy(f[28:], "win \x00\x0a\x00\x00Wi2k")
	be.PutUint64(f[40:], uint64(size))
	be.PutUint64(f[48:], uint64(size))
	cylinders, heads, sectors := geometry(size / 512)
	be.PutUint16(f[56:], uint16(cylinders))
	f[58], f[59] = byte(heads), byte(sectors)
	be.PutUint32(f[vhdTypeAt:], kind)
	copy(f[68:], o.ID[:])
	be.PutUint32(f[vhdCheckAt:], vhdSum(f))
	return f
}

// vhdSum is the complement of the sum of all bytes.
func vhdSum(p []byte) uint32 {
	var sum uint32
	for _, b := range p {
		sum += uint32(b)
	}
	return ^sum
}

// geometry is the one that the specification's appendix gives a disk.
func geometry(total int64) (cylinders, heads, sectors int64) {
	total = min(total, 65535*16*255)
	if total >= 65535*16*63 {
		return total / 255 / 16, 16, 255
	}
	sectors = 17
	perHead := total / sectors
	heads = max(4, (perHead+1023)/1024)
	if perHead >= heads*1024 || heads > 16 {
		sectors, heads = 31, 16
		perHead = total / sectors
	}
	if perHead >= heads*1024 {
		sectors, heads = 63, 16
		perHead = total / sectors
	}
	return perHead / heads, heads, sectors
}

func writeVHD(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	if err := writeRaw(ctx, s, src, o); err != nil {
		return err
	}
	_, err := s.Write(footer(src.Size(), vhdFixed, o))
	return err
}

func writeVHDDynamic(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	b, err := find(ctx, src, vhdBlock)
	if err != nil {
		return err
	}
	end := footer(src.Size(), vhdDynamic, o)
	header := make([]byte, vhdHeader)
	be := binary.BigEndian
	copy(header, vhdSparse)
	be.PutUint64(header[8:], ^uint64(0))
	be.PutUint64(header[16:], vhdFooter+vhdHeader)
	be.PutUint32(header[24:], vhdVersion)
	be.PutUint32(header[28:], uint32(b.n))
	be.PutUint32(header[32:], uint32(vhdBlock))
	be.PutUint32(header[vhdCheck2At:], vhdSum(header))
	table := bytes.Repeat([]byte{0xff}, int((b.n*4+511)/512*512))
	at := (int64(vhdFooter+vhdHeader+len(table))+unit-vhdBitmap+unit-1)/unit*unit - vhdBitmap // data begins on a border
	start := at
	for i := range b.n {
		if b.has(i) {
			be.PutUint32(table[i*4:], uint32(at/512))
			at += vhdBitmap + vhdBlock
		}
	}
	for _, part := range [][]byte{end, header, table} {
		if _, err := s.Write(part); err != nil {
			return err
		}
	}
	if err := s.to(start); err != nil {
		return err
	}
	bitmap, buf := bytes.Repeat([]byte{0xff}, vhdBitmap), make([]byte, chunk)
	for i := range b.n {
		if !b.has(i) {
			continue
		}
		if _, err := s.Write(bitmap); err != nil {
			return err
		}
		if err := s.copyRun(ctx, src, i*vhdBlock, (i+1)*vhdBlock, buf, o); err != nil {
			return err
		}
	}
	_, err = s.Write(end)
	return err
}
