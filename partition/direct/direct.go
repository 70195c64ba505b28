// Package direct reads an open file or block device past the kernel's page cache, so that what is read is what the
// device has and not what was meant for it.
//
// Start with Open; Buffer makes memory that is read into without a copy. What was written and not flushed may not be
// seen: Sync first. Whatever lies below the kernel, such as a drive's own cache, answers as it likes.
package direct

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Align is what offsets, lengths and memory are multiples of on their way to the kernel. No sector in use is larger.
const Align = 4096

// Reader reads one file. It is safe for concurrent use. The caller closes it.
type Reader struct {
	f *os.File

	mu     sync.Mutex
	bounce []byte // for what is not aligned
}

// Open opens the file that plain has open, by its path, with O_DIRECT, and reads some of it to see that it can be. Not
// every file system can: the error says so, and then the way is to drop pages from the cache.
func Open(plain *os.File) (*Reader, error) {
	f, err := os.OpenFile(plain.Name(), os.O_RDONLY|unix.O_DIRECT|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s with O_DIRECT: %w", plain.Name(), bare(err))
	}
	r := &Reader{f: f}
	if err := r.check(plain); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s with O_DIRECT: %w", plain.Name(), err), f.Close())
	}
	return r, nil
}

// check makes sure that both are one file, and that it can be read.
func (r *Reader) check(plain *os.File) error {
	a, err1 := plain.Stat()
	b, err2 := r.f.Stat()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		return errors.New("another file has its path now")
	}
	if _, err := r.f.ReadAt(Buffer(Align), 0); err != nil && err != io.EOF {
		return bare(err)
	}
	return nil
}

// ReadAt follows [io.ReaderAt]. Into memory of Buffer, aligned pieces are read as they are; all else takes a copy.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s at %d: before its start", r.f.Name(), off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off%Align == 0 && len(p)%Align == 0 && aligned(p) {
		return r.f.ReadAt(p, off)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bounce == nil {
		r.bounce = Buffer(bounceSize)
	}
	n := 0
	for n < len(p) {
		within := int((off + int64(n)) % Align)
		want := min(bounceSize, (within+len(p)-n+Align-1)/Align*Align)
		got, err := r.f.ReadAt(r.bounce[:want], off+int64(n-within))
		n += copy(p[n:], r.bounce[min(within, got):got])
		if err != nil && n < len(p) {
			return n, err
		}
	}
	return n, nil
}

// Close ends the use.
func (r *Reader) Close() error { return r.f.Close() }

// Lazy is a Reader that is opened when it is asked for. The zero value is ready.
type Lazy struct {
	once   sync.Once
	reader *Reader
	err    error
}

// Of is the reader of f, which is the same file each time.
func (l *Lazy) Of(f *os.File) (io.ReaderAt, error) {
	l.once.Do(func() { l.reader, l.err = Open(f) })
	if l.err != nil {
		return nil, l.err
	}
	return l.reader, nil
}

// Close closes the reader, if there is one.
func (l *Lazy) Close() error {
	l.once.Do(func() { l.err = os.ErrClosed })
	if l.reader == nil {
		return nil
	}
	return l.reader.Close()
}

const bounceSize = 64 << 10

// Buffer is memory of n bytes that starts at a multiple of Align.
func Buffer(n int) []byte {
	b := make([]byte, n+Align)
	shift := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (Align - 1))
	return b[shift : shift+n : shift+n]
}

func aligned(p []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%Align == 0 }

func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Sync makes what was written to f durable, and of what the file system keeps of it all that is needed to read it
// again: not the time of the change, which would cost a file system's journal each time.
func Sync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "sync", Path: f.Name(), Err: err}
		}
	}
}
