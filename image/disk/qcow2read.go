package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Bits that say that a reader has to know more than the tables.
var qcowFeatures = []string{
	"the mark of a file that was not closed (qemu-img check -r all mends it)",
	"the mark of a damaged file (qemu-img check -r all mends it)",
	"the data in another file", "", "extended entries of L2",
}

const (
	qcowOffset   = uint64(0x00fffffffffffe00) // of a table or a cluster, in an entry
	qcowZero     = uint64(1)                  // a cluster of zeros
	qcowMaxL1    = 32 << 20                   // bytes, as QEMU has it
	qcowCompType = 1 << 3                     // the header has the kind of compression
	qcowCache    = 4 << 20                    // bytes of L2 tables that are kept
)

// qcowReader is a qcow2 that is read.
type qcowReader struct {
	f       io.ReaderAt
	file    int64 // size of the file
	size    int64 // of the disk
	bits    int
	l1      []uint64
	unpack  func(packed, cluster []byte) error
	mu      sync.Mutex
	l2      map[uint64][]byte
	open    uint64 // entry of the compressed cluster that was unpacked last
	cluster []byte
}

func readQCOW2(f io.ReaderAt, file int64) (*qcowReader, error) {
	h := make([]byte, qcowHeader)
	if err := fill(f, h[:72], 0, "the header"); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	version := be.Uint32(h[4:])
	q := &qcowReader{f: f, file: file, bits: int(be.Uint32(h[20:])), size: int64(be.Uint64(h[24:]))}
	q.l2 = map[uint64][]byte{}
	q.unpack = inflate
	switch {
	case version != 2 && version != 3:
		return nil, fmt.Errorf("version %d of qcow2, want 2 or 3: %w", version, ErrFormat)
	case q.bits < 9 || q.bits > 21:
		return nil, fmt.Errorf("clusters of 2^%d bytes, want 2^9 to 2^21: %w", q.bits, ErrFormat)
	case q.size <= 0 || q.size%512 != 0:
		return nil, fmt.Errorf("a disk of %d bytes, want whole sectors: %w", q.size, ErrFormat)
	case be.Uint64(h[8:]) != 0:
		name := make([]byte, min(be.Uint32(h[16:]), 1023))
		if err := fill(f, name, int64(be.Uint64(h[8:])&(1<<62-1)), "the backing file's name"); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("it has a backing file, %s, without which it is not whole (qemu-img convert takes it "+
			"in): %w",
			named(name), ErrFormat)
	case be.Uint32(h[32:]) != 0:
		return nil, fmt.Errorf("it is encrypted (qemu-img convert makes one that is not): %w", ErrFormat)
	}
	if version == 3 {
		if err := q.extended(h); err != nil {
			return nil, err
		}
	}
	counts, clusters := int64(be.Uint64(h[48:])), int64(be.Uint32(h[56:]))
	if err := within("the table of refcounts", counts, clusters<<q.bits, file); err != nil {
		return nil, err
	}
	return q, q.tables(int64(be.Uint64(h[40:])), int64(be.Uint32(h[36:])))
}

// extended reads what version 3 adds.
func (q *qcowReader) extended(h []byte) error {
	if err := fill(q.f, h[72:104], 72, "the header"); err != nil {
		return err
	}
	features := binary.BigEndian.Uint64(h[72:])
	if features&^qcowCompType != 0 {
		bit := bits.TrailingZeros64(features &^ qcowCompType)
		name := "an unknown feature"
		if bit < len(qcowFeatures) {
			name = qcowFeatures[bit]
		}
		return fmt.Errorf("it has %s (incompatible feature %d): %w", name, bit, ErrFormat)
	}
	if features&qcowCompType == 0 {
		return nil
	}
	if err := fill(q.f, h[104:], 104, "the header"); err != nil {
		return err
	}
	switch h[104] {
	case 0:
	case 1:
		q.unpack = unzstd
	default:
		return fmt.Errorf("it is compressed in way %d, want 0 (zlib) or 1 (zstd): %w", h[104], ErrFormat)
	}
	return nil
}

// tables reads L1 and looks at all L2 tables, so that a file that is cut off is known now.
func (q *qcowReader) tables(at, entries int64) error {
	perTable := int64(1) << (q.bits - 3)
	clusters := (q.size-1)>>q.bits + 1
	need := (clusters-1)/perTable + 1
	if need*8 > qcowMaxL1 || entries < need {
		return fmt.Errorf("%d entries of L1 for a disk of %d bytes: %w", entries, q.size, ErrFormat)
	}
	if err := within("the L1 table", at, need*8, q.file); err != nil {
		return err
	}
	table := make([]byte, need*8)
	if err := fill(q.f, table, at, "the L1 table"); err != nil {
		return err
	}
	buf := make([]byte, 1<<q.bits)
	used := int64(0)
	for i := range need {
		entry := be64(table, i) & qcowOffset
		q.l1 = append(q.l1, entry)
		if entry == 0 {
			continue
		}
		if used++; used > q.file>>q.bits { // one would be used again and again, and this loop not end
			return fmt.Errorf("more L2 tables than the file has room for: %w", ErrFormat)
		}
		if err := q.readL2(entry, buf); err != nil {
			return err
		}
		for j := range min(perTable, clusters-i*perTable) {
			if err := q.check(be64(buf, j)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (q *qcowReader) readL2(at uint64, buf []byte) error {
	if at%(1<<q.bits) != 0 {
		return fmt.Errorf("an L2 table at byte %d, want whole clusters: %w", at, ErrFormat)
	}
	if err := within("an L2 table", int64(at), int64(len(buf)), q.file); err != nil {
		return err
	}
	return fill(q.f, buf, int64(at), "an L2 table")
}

// packed is where a compressed cluster is.
func (q *qcowReader) packed(entry uint64) (off, length int64) {
	x := 62 - (q.bits - 8)
	off = int64(entry & (1<<x - 1))
	sectors := int64(entry&(1<<62-1)) >> x
	return off, (sectors+1)*qcowSector - off%qcowSector
}

// check looks at an entry of L2. The last cluster of a file may be shorter: what is missing of it is zero.
func (q *qcowReader) check(entry uint64) error {
	off := int64(entry & qcowOffset)
	if entry&qcowCompressed != 0 {
		off, _ = q.packed(entry)
	} else if off%(1<<q.bits) != 0 {
		return fmt.Errorf("a cluster at byte %d, want whole clusters: %w", off, ErrFormat)
	}
	if off == 0 && entry&qcowCompressed == 0 || entry&(qcowCompressed|qcowZero) == qcowZero {
		return nil
	}
	return within("a cluster", off, 1, q.file)
}

// Size is that of the disk.
func (q *qcowReader) Size() int64 { return q.size }

// ReadAt follows [io.ReaderAt].
func (q *qcowReader) ReadAt(p []byte, off int64) (int, error) {
	return readPieces(p, off, q.size, 1<<q.bits, q.read)
}

// read reads bytes of one cluster.
func (q *qcowReader) read(p []byte, off int64) error {
	entry, err := q.entry(off >> q.bits)
	if err != nil {
		return err
	}
	at := int64(entry & qcowOffset)
	switch {
	case entry&qcowCompressed != 0:
		return q.readPacked(p, off, entry)
	case entry&qcowZero != 0 || at == 0:
		clear(p)
		return nil
	}
	at += off & (1<<q.bits - 1)
	n := max(0, min(int64(len(p)), q.file-at))
	clear(p[n:])
	return fill(q.f, p[:n], at, "a cluster")
}

func (q *qcowReader) entry(cluster int64) (uint64, error) {
	perTable := int64(1) << (q.bits - 3)
	at := q.l1[cluster/perTable]
	if at == 0 {
		return 0, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	table, ok := q.l2[at]
	if !ok {
		if len(q.l2) >= max(1, qcowCache>>q.bits) {
			clear(q.l2)
		}
		table = make([]byte, 1<<q.bits)
		if err := q.readL2(at, table); err != nil {
			return 0, err
		}
		q.l2[at] = table
	}
	return be64(table, cluster%perTable), nil
}

func (q *qcowReader) readPacked(p []byte, off int64, entry uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cluster == nil || q.open != entry {
		at, length := q.packed(entry)
		packed := make([]byte, max(0, min(length, q.file-at))) // the last sector of a file may be shorter
		if err := fill(q.f, packed, at, "a compressed cluster"); err != nil {
			return err
		}
		cluster := make([]byte, 1<<q.bits)
		if err := q.unpack(packed, cluster); err != nil {
			return fmt.Errorf("unpack the cluster at byte %d of the disk: %w", off>>q.bits<<q.bits, err)
		}
		q.open, q.cluster = entry, cluster
	}
	copy(p, q.cluster[off&(1<<q.bits-1):])
	return nil
}

func inflate(packed, cluster []byte) error {
	z := flate.NewReader(bytes.NewReader(packed))
	_, err := io.ReadFull(z, cluster)
	return err
}

func unzstd(packed, cluster []byte) error {
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<24))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = io.ReadFull(z, cluster)
	return err
}
