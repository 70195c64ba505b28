package disk

import (
	"context"
	"errors"
	"io"
	"math/bits"

	"golang.org/x/sys/unix"
)

// chunk is how much of a disk is read at once.
const chunk = 1 << 20

// blocks says which blocks of a disk hold anything but zeros. Only the bytes count, not what the file system knows of
// holes, so that the same disk always makes the same file.
type blocks struct {
	size int64 // of a block, a power of two
	disk int64 // size of the disk
	used []uint64
	n    int64 // blocks of the disk
	sum  int64 // used ones
}

// holed is a source that knows some of the areas that are zero.
type holed interface {
	// data is the next area from off on that may hold data; io.EOF if there is none.
	data(off int64) (start, end int64, err error)
}

// find goes through the disk.
func find(ctx context.Context, src Source, size int64) (*blocks, error) {
	b := &blocks{size: size, disk: src.Size(), n: (src.Size() + size - 1) / size}
	b.used = make([]uint64, (b.n+63)/64)
	err := eachData(ctx, src, func(off int64, p []byte) error {
		for len(p) > 0 {
			i := off / size
			part := p[:min(int64(len(p)), (i+1)*size-off)]
			if !b.has(i) && !isZero(part) {
				b.used[i/64] |= 1 << (i % 64)
			}
			off, p = off+int64(len(part)), p[len(part):]
		}
		return nil
	})
	for _, word := range b.used {
		b.sum += int64(bits.OnesCount64(word))
	}
	return b, err
}

func (b *blocks) has(i int64) bool { return b.used[i/64]>>(i%64)&1 != 0 }

// any reports whether one of the blocks from i to before end is used.
func (b *blocks) any(i, end int64) bool {
	for ; i < min(end, b.n); i++ {
		if b.has(i) {
			return true
		}
	}
	return false
}

// runs calls f with each run of used blocks, in bytes of the disk.
func (b *blocks) runs(f func(off, end int64) error) error {
	for i := int64(0); i < b.n; i++ {
		if !b.has(i) {
			continue
		}
		first := i
		for i < b.n && b.has(i) {
			i++
		}
		if err := f(first*b.size, min(i*b.size, b.disk)); err != nil {
			return err
		}
	}
	return nil
}

// eachData reads the disk in pieces but for the holes that the source knows.
func eachData(ctx context.Context, src Source, f func(off int64, p []byte) error) error {
	buf := make([]byte, chunk)
	h, _ := src.(holed)
	for off := int64(0); off < src.Size(); {
		start, end := off, src.Size()
		if h != nil {
			var err error
			if start, end, err = h.data(off); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
		start = max(off, start-start%chunk) // so that the pieces are the same with holes and without
		end = min(end, src.Size())
		for off = start; off < end; {
			n := min(chunk-off%chunk, src.Size()-off)
			if err := readAll(ctx, src, buf[:n], off); err != nil {
				return err
			}
			if err := f(off, buf[:n]); err != nil {
				return err
			}
			off += n
		}
	}
	return nil
}

// readAll fills p from off on; what lies behind the end of the disk is zero.
func readAll(ctx context.Context, src Source, p []byte, off int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := max(0, min(int64(len(p)), src.Size()-off))
	clear(p[n:])
	got, err := src.ReadAt(p[:n], off)
	if int64(got) == n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// copyRun copies bytes of the disk.
func (s *stream) copyRun(ctx context.Context, src Source, off, end int64, buf []byte, o WriteOptions) error {
	for off < end {
		n := min(int64(len(buf)), end-off)
		if err := readAll(ctx, src, buf[:n], off); err != nil {
			return err
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return err
		}
		off += n
		o.progress(off)
	}
	return nil
}

func (o WriteOptions) progress(done int64) {
	if o.Progress != nil {
		o.Progress(done)
	}
}

// data is where the file system has bytes of the image; the rest is zero.
func (r *Raw) data(off int64) (start, end int64, err error) {
	fd := int(r.f.Fd())
	start, err = unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return 0, 0, io.EOF
	case errors.Is(err, unix.EINVAL): // the file system has no holes
		return off, r.size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
	return start, end, err
}

// writeRaw writes the bytes of the disk.
func writeRaw(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	err := eachData(ctx, src, func(off int64, p []byte) error {
		if err := s.to(off); err != nil {
			return err
		}
		_, err := s.Write(p)
		o.progress(off + int64(len(p)))
		return err
	})
	if err != nil {
		return err
	}
	return s.to(src.Size())
}

// Copy puts the bytes of a disk onto another one that reads as zeros: what is zero is not written, and where src is a
// sparse file its holes are not read. tell, which may be nil, takes how far it has come.
func Copy(ctx context.Context, to io.WriterAt, src Source, tell func(done int64)) error {
	return eachData(ctx, src, func(off int64, p []byte) error {
		if !isZero(p) {
			if _, err := to.WriteAt(p, off); err != nil {
				return err
			}
		}
		if tell != nil {
			tell(off + int64(len(p)))
		}
		return nil
	})
}
