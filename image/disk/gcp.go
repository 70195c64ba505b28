package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A sparse file in a tar archive as old GNU tars have it, which is what Google's cloud asks for: the header holds up to
// 4 areas of the file that have data, blocks behind it 21 each, then come the data. archive/tar reads such files and
// writes none.
const (
	tarBlock  = 512
	tarFirst  = 4  // areas in the header
	tarMore   = 21 // in each block behind it
	tarAreas  = 386
	gcpBlock  = int64(64 << 10)
	gcpMember = "disk.raw"
)

var epoch = time.Unix(0, 0).UTC()

func writeGCP(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	p := newPacker("gz", s)
	err := writeSparseTar(ctx, newStream(p), src, o)
	if e := p.Close(); e != nil {
		return e
	}
	return err
}

func writeSparseTar(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	b, err := find(ctx, src, gcpBlock)
	if err != nil {
		return err
	}
	type area struct{ at, length int64 }
	var areas []area
	var sum int64
	err = b.runs(func(off, end int64) error {
		areas = append(areas, area{off, end - off})
		sum += end - off
		return nil
	})
	areas = append(areas, area{src.Size(), 0}) // or the hole at the end would be lost
	h := make([]byte, tarBlock)
	copy(h, gcpMember)
	number(h[100:108], 0o644)
	number(h[108:116], 0)
	number(h[116:124], 0)
	number(h[124:136], sum)
	number(h[136:148], max(0, o.Time.Unix()))
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	number(h[483:495], src.Size())
	put := func(p []byte, n int) {
		for i := range min(n, len(areas)) {
			number(p[24*i:24*i+12], areas[i].at)
			number(p[24*i+12:24*i+24], areas[i].length)
		}
		areas = areas[min(n, len(areas)):]
		if p[24*n] = 0; len(areas) > 0 {
			p[24*n] = 1
		}
	}
	put(h[tarAreas:], tarFirst)
	copy(h[148:156], "        ")
	var check int64
	for _, c := range h {
		check += int64(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", check))
	_, e := s.Write(h)
	err = errors.Join(err, e)
	for len(areas) > 0 && err == nil {
		more := make([]byte, tarBlock)
		put(more, tarMore)
		_, err = s.Write(more)
	}
	if err != nil {
		return err
	}
	buf := make([]byte, chunk)
	if err := b.runs(func(off, end int64) error { return s.copyRun(ctx, src, off, end, buf, o) }); err != nil {
		return err
	}
	if err := s.align(tarBlock); err != nil {
		return err
	}
	return s.zeros(2 * tarBlock)
}

// number writes n in octal digits, or, where there is no room for them, as GNU tar does.
func number(field []byte, n int64) {
	if digits := len(field) - 1; n < 1<<(3*digits) {
		copy(field, fmt.Sprintf("%0*o", digits, n))
		return
	}
	field[0] = 0x80
	binary.BigEndian.PutUint64(field[len(field)-8:], uint64(n))
}
