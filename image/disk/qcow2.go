package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/flate"
)

// The qcow2 format, version 3, as QEMU's docs/interop/qcow2.txt has it. All numbers are big-endian.
//
//	0   magic "QFI\xfb"       32 encryption method     72 incompatible features
//	4   version               36 entries of L1         80 compatible features
//	8   name of backing file  40 L1 table              88 features that clear by themselves
//	16  its length            48 table of refcounts    96 log2 of a refcount's bits
//	20  log2 of a cluster     56 its clusters          100 length of the header
//	24  size of the disk      60 snapshots             104 kind of compression
//
// A file is laid out as: header, L1, L2 tables, data, blocks of refcounts, their table. So all but the data's own
// places is known before the first byte, and with compression only the tables are written out of order.
const (
	qcowMagic      = "QFI\xfb"
	qcowBits       = 16
	qcowCluster    = int64(1) << qcowBits
	qcowEntries    = qcowCluster / 8 // in an L2 table
	qcowRefs       = qcowCluster / 2 // in a block of refcounts
	qcowCopied     = uint64(1) << 63
	qcowCompressed = uint64(1) << 62
	qcowHeader     = 112
	qcowSector     = 512 // what the length of compressed data is counted in
	qcowWindow     = 4096
)

// qcow is a file that is written.
type qcow struct {
	b      *blocks
	l1     []byte
	tables int64   // clusters of header, L1 and L2
	l2     []int64 // which L2 table is the i-th that there is
	end    int64   // of the data, in bytes of the file
	refs   []uint16
}

func writeQCOW2(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	b, err := find(ctx, src, qcowCluster)
	if err != nil {
		return err
	}
	q := &qcow{b: b}
	q.plan()
	if o.Compress {
		return q.writeCompressed(ctx, s, src, o)
	}
	q.end = (q.tables + b.sum) * qcowCluster
	if _, err := s.Write(q.head()); err != nil {
		return err
	}
	next := uint64(q.tables * qcowCluster)
	table := make([]byte, qcowCluster)
	for _, t := range q.l2 {
		clear(table)
		for i := range qcowEntries {
			if n := t*qcowEntries + i; n < b.n && b.has(n) {
				binary.BigEndian.PutUint64(table[i*8:], next|qcowCopied)
				next += uint64(qcowCluster)
			}
		}
		if _, err := s.Write(table); err != nil {
			return err
		}
	}
	buf := make([]byte, chunk)
	err = b.runs(func(off, end int64) error {
		if err := s.copyRun(ctx, src, off, end, buf, o); err != nil {
			return err
		}
		return s.align(qcowCluster)
	})
	if err != nil {
		return err
	}
	return q.counts(s)
}

// plan finds out which tables there are.
func (q *qcow) plan() {
	entries := (q.b.n + qcowEntries - 1) / qcowEntries
	clusters := (entries*8 + qcowCluster - 1) / qcowCluster
	q.l1 = make([]byte, clusters*qcowCluster)
	at := uint64(1+clusters) * uint64(qcowCluster)
	for t := range entries {
		if q.b.any(t*qcowEntries, (t+1)*qcowEntries) {
			binary.BigEndian.PutUint64(q.l1[t*8:], at|qcowCopied)
			at += uint64(qcowCluster)
			q.l2 = append(q.l2, t)
		}
	}
	q.tables = int64(at) / qcowCluster
}

// size is how many blocks of refcounts there are, and clusters of their table, behind n clusters.
func qcowCounts(n int64) (blocks, table int64) {
	for {
		all := n + blocks + table
		b := (all + qcowRefs - 1) / qcowRefs
		t := (b*8 + qcowCluster - 1) / qcowCluster
		if b == blocks && t == table {
			return b, t
		}
		blocks, table = b, t
	}
}

// head is the header and the L1 table. It needs to know where the data ends.
func (q *qcow) head() []byte {
	n := (q.end + qcowCluster - 1) / qcowCluster
	refs, table := qcowCounts(n)
	h := make([]byte, qcowCluster)
	be := binary.BigEndian
	copy(h, qcowMagic)
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], qcowBits)
	be.PutUint64(h[24:], uint64(q.b.disk))
	be.PutUint32(h[36:], uint32((q.b.n+qcowEntries-1)/qcowEntries))
	be.PutUint64(h[40:], uint64(qcowCluster))
	be.PutUint64(h[48:], uint64((n+refs)*qcowCluster))
	be.PutUint32(h[56:], uint32(table))
	be.PutUint32(h[96:], 4)
	be.PutUint32(h[100:], qcowHeader)
	return append(h, q.l1...)
}

// counts writes how often each cluster is used: once, but where compressed data share one.
func (q *qcow) counts(s *stream) error {
	if err := s.align(qcowCluster); err != nil {
		return err
	}
	n := s.at / qcowCluster
	blocks, table := qcowCounts(n)
	block := make([]byte, qcowCluster)
	for i := range blocks {
		clear(block)
		for j := range qcowRefs {
			c := i*qcowRefs + j
			count := uint16(1)
			if c < int64(len(q.refs)) && c >= q.tables {
				count = q.refs[c]
			}
			if c < n+blocks+table {
				binary.BigEndian.PutUint16(block[j*2:], count)
			}
		}
		if _, err := s.Write(block); err != nil {
			return err
		}
	}
	places := make([]byte, table*qcowCluster)
	for i := range blocks {
		binary.BigEndian.PutUint64(places[i*8:], uint64((n+i)*qcowCluster))
	}
	_, err := s.Write(places)
	return err
}

// writeCompressed packs each cluster by itself, the ones behind the others; what gains nothing is left as it is.
func (q *qcow) writeCompressed(ctx context.Context, s *stream, src Source, o WriteOptions) (err error) {
	f := s.file
	if f == nil {
		if f, err = s.scratch(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	data := &stream{w: f, file: f, at: q.tables * qcowCluster}
	entries := make([]byte, int64(len(q.l2))*qcowCluster)
	place := q.places()
	l := newLine(int(qcowCluster), deflater(flate.NewWriterWindow, qcowWindow), func(j *job) error {
		entry, err := q.add(data, j)
		binary.BigEndian.PutUint64(entries[place(j.at/qcowCluster)*8:], entry)
		o.progress(j.at + qcowCluster)
		return err
	})
	err = q.b.runs(func(off, end int64) error {
		for ; off < end && !l.failed.Load(); off += qcowCluster {
			j := l.next()
			j.at = off
			if err := readAll(ctx, src, j.in, off); err != nil {
				return err
			}
			l.put(j)
		}
		return nil
	})
	if err = errors.Join(err, l.close()); err != nil {
		return err
	}
	q.end = data.at
	if err := q.counts(data); err != nil {
		return err
	}
	head := append(q.head(), entries...)
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	if s.file != nil {
		s.at = data.at
		return nil
	}
	return errors.Join(data.close(), s.take(f, data.at))
}

// places tells where the entry of a cluster is in the tables that there are.
func (q *qcow) places() func(cluster int64) int64 {
	i := 0
	return func(c int64) int64 { // in order
		for q.l2[i] != c/qcowEntries {
			i++
		}
		return int64(i)*qcowEntries + c%qcowEntries
	}
}

// add writes one cluster and returns its entry.
func (q *qcow) add(s *stream, j *job) (uint64, error) {
	if len(j.out) >= len(j.in) {
		if err := s.align(qcowCluster); err != nil {
			return 0, err
		}
		at := s.at
		q.refer(at, at+qcowCluster)
		_, err := s.Write(j.in)
		return uint64(at) | qcowCopied, err
	}
	at := s.at
	_, err := s.Write(j.out)
	last := (s.at - 1) / qcowSector
	q.refer(at, (last+1)*qcowSector)
	return uint64(at) | uint64(last-at/qcowSector)<<(62-(qcowBits-8)) | qcowCompressed, err
}

// refer counts the clusters of the file from at to before end.
func (q *qcow) refer(at, end int64) {
	last := (end - 1) / qcowCluster
	for int64(len(q.refs)) <= last {
		q.refs = append(q.refs, 0)
	}
	for c := at / qcowCluster; c <= last; c++ {
		q.refs[c]++
	}
}

// deflater makes workers that deflate.
func deflater(make func(w io.Writer, n int) (*flate.Writer, error), n int) func() func(*job) error {
	return func() func(*job) error {
		z, err := make(io.Discard, n)
		return func(j *job) error {
			if err != nil {
				return err
			}
			out := sink{j.out}
			z.Reset(&out)
			if _, err := z.Write(j.in); err != nil {
				return err
			}
			err := z.Close()
			j.out = out.b
			return err
		}
	}
}

// take copies n bytes of a scratch file.
func (s *stream) take(f *os.File, n int64) error {
	got, err := io.CopyBuffer(struct{ io.Writer }{s}, io.NewSectionReader(f, 0, n), make([]byte, chunk))
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}
