package disk

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"

	"github.com/google/uuid"
)

// The VHDX format, as [MS-VHDX] 7.0 has it. All numbers are little-endian.
//
//	0       "vhdxfile", creator      1 MiB  log, empty
//	64 KiB  header, and at 128 KiB   2 MiB  metadata: table, and items from 64 KiB on
//	192 KiB regions, and at 256 KiB  3 MiB  where the blocks are (BAT), then blocks
const (
	vhdxBlock  = mib
	vhdxSector = 512
	vhdxLog    = 1 * mib
	vhdxMeta   = 2 * mib
	vhdxBAT    = 3 * mib
	vhdxItems  = 64 << 10
	vhdxRatio  = 1 << 23 // sectors that one bitmap is for
	vhdxWhole  = 6       // state of a block that is in the file
	vhdxTable  = 64 << 10
	vhdxHeader = 4 << 10
)

// vhdxItem is one of the disk's properties.
type vhdxItem struct {
	id    string
	value any
	flags uint32 // 2: of the disk, 4: has to be understood
}

var (
	crc = crc32.MakeTable(crc32.Castagnoli)

	vhdxRegions = []struct {
		id string
		at int64
	}{{"2dc27766-f623-4200-9d64-115e9bfd4a08", vhdxBAT}, {"8b7ca206-4790-4b9a-b8fe-575f050f886e", vhdxMeta}}
)

// guid writes an id as Microsoft has them: the first three fields turned around.
func guid(p []byte, id uuid.UUID) {
	be, le := binary.BigEndian, binary.LittleEndian
	le.PutUint32(p, be.Uint32(id[:]))
	le.PutUint16(p[4:], be.Uint16(id[4:]))
	le.PutUint16(p[6:], be.Uint16(id[6:]))
	copy(p[8:16], id[8:])
}

func writeVHDX(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	b, err := find(ctx, src, vhdxBlock)
	if err != nil {
		return err
	}
	const ratio = vhdxRatio * vhdxSector / vhdxBlock
	entries := b.n + max(0, b.n-1)/ratio
	bat := make([]byte, (entries*8+mib-1)/mib*mib)
	at := vhdxBAT + int64(len(bat))
	for i := range b.n {
		if b.has(i) {
			binary.LittleEndian.PutUint64(bat[(i+i/ratio)*8:], uint64(at)|vhdxWhole)
			at += vhdxBlock
		}
	}
	ident := make([]byte, 8+2*len("Pawl"))
	copy(ident, "vhdxfile")
	for i, c := range utf16.Encode([]rune("Pawl")) {
		binary.LittleEndian.PutUint16(ident[8+2*i:], c)
	}
	for _, part := range []struct {
		at int64
		p  []byte
	}{
		{0, ident}, {1 * vhdxTable, vhdxHead(1, o)}, {2 * vhdxTable, vhdxHead(2, o)},
		{3 * vhdxTable, vhdxRegionTable(int64(len(bat)))}, {4 * vhdxTable, vhdxRegionTable(int64(len(bat)))},
		{vhdxMeta, vhdxMetadata(src, o)}, {vhdxBAT, bat},
	} {
		if err := s.to(part.at); err != nil {
			return err
		}
		if _, err := s.Write(part.p); err != nil {
			return err
		}
	}
	buf := make([]byte, chunk)
	return b.runs(func(off, end int64) error {
		if err := s.copyRun(ctx, src, off, end, buf, o); err != nil {
			return err
		}
		return s.align(vhdxBlock)
	})
}

func vhdxHead(sequence uint64, o WriteOptions) []byte {
	h := make([]byte, vhdxHeader)
	copy(h, "head")
	le := binary.LittleEndian
	le.PutUint64(h[8:], sequence)
	guid(h[16:], uuid.NewSHA1(o.ID, []byte("file")))
	guid(h[32:], uuid.NewSHA1(o.ID, []byte("data")))
	le.PutUint16(h[66:], 1)
	le.PutUint32(h[68:], uint32(mib))
	le.PutUint64(h[72:], uint64(vhdxLog))
	le.PutUint32(h[4:], crc32.Checksum(h, crc))
	return h
}

func vhdxRegionTable(bat int64) []byte {
	t := make([]byte, vhdxTable)
	copy(t, "regi")
	le := binary.LittleEndian
	le.PutUint32(t[8:], uint32(len(vhdxRegions)))
	for i, r := range vhdxRegions {
		e, length := t[16+32*i:], mib
		if r.at == vhdxBAT {
			length = bat
		}
		guid(e, uuid.MustParse(r.id))
		le.PutUint64(e[16:], uint64(r.at))
		le.PutUint32(e[24:], uint32(length))
		le.PutUint32(e[28:], 1)
	}
	le.PutUint32(t[4:], crc32.Checksum(t, crc))
	return t
}

// vhdxMetadata is the table of the disk's properties, and they themselves.
func vhdxMetadata(src Source, o WriteOptions) []byte {
	id := make([]byte, 16)
	guid(id, o.ID)
	items := []vhdxItem{
		{"caa16737-fa36-4d43-b3b6-33f0aa44e76b", uint64(vhdxBlock), 4}, // bytes of a block; no flags above
		{"2fa54224-cd1b-4876-b211-5dbed83bf4b8", uint64(src.Size()), 6},
		{"beca12ab-b2e6-4523-93ef-c309e000c746", id, 6},
		{"8141bf1d-a96f-4709-ba47-f233a8faab5f", uint32(vhdxSector), 6},
		{"cda348c7-445d-4471-9cc9-e9885251c556", uint32(unit), 6}, // of the medium
	}
	m := make([]byte, vhdxItems)
	copy(m, "metadata")
	le := binary.LittleEndian
	le.PutUint16(m[10:], uint16(len(items)))
	for i, item := range items {
		value, err := binary.Append(nil, le, item.value)
		if err != nil {
			panic(err) // of the types above
		}
		e := m[32+32*i:]
		guid(e, uuid.MustParse(item.id))
		le.PutUint32(e[16:], uint32(len(m)))
		le.PutUint32(e[20:], uint32(len(value)))
		le.PutUint32(e[24:], item.flags)
		m = append(m, value...)
	}
	return m
}
