// Package disk makes disk-image files that act as devices, and writes them in the formats that hypervisors and clouds
// take.
//
// Start with Create or Open. A Raw image is the bytes of the disk, one to one, in a sparse file: what was never written
// takes no room. Reads and writes outside the disk's size fail, so an image never grows by accident; it is locked
// against other programs that lock it too while it is open for writing. Kind.Write makes a qcow2, VHD, VHDX, VMDK, OVA
// or Google's tar of any disk, to a file or to a pipe; the same disk makes the same bytes. [NewOutput] is a file that
// appears under its name only when it is whole.
//
// The package knows nothing of what is put on a disk.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/direct"
)

// ErrBusy is returned when another program holds the image. Do: wait for it or end it, then try again.
var ErrBusy = errors.New("the disk image is in use by another program")

// Options are what a raw file does not say itself. The zero value is a disk with sectors of 512 bytes.
type Options struct {
	SectorSize int  // bytes: 512 (default) or 4096
	ReadOnly   bool // Open only: writes fail, and no lock is taken
}

// Raw is an open raw disk image. Its methods are safe for concurrent use.
type Raw struct {
	f          *os.File
	size       int64
	sectorSize int
	readOnly   bool
	pending    bool        // an output that is flushed as a whole, by Commit: until then it is worth nothing
	direct     direct.Lazy // past the cache
}

// Create makes a new image of size bytes, a multiple of the sector size, that reads as zeros. A file that is there
// already is left alone: [fs.ErrExist]. The caller closes it.
func Create(path string, size int64) (*Raw, error) { return Options{}.Create(path, size) }

// Open opens an image for reading and writing. The caller closes it.
func Open(path string) (*Raw, error) { return Options{}.Open(path) }

func (o Options) sectors() (int, error) {
	switch o.SectorSize {
	case 0, 512:
		return 512, nil
	case 4096:
		return 4096, nil
	}
	return 0, fmt.Errorf("sector size %d, want 512 or 4096", o.SectorSize)
}

// Create is the function Create with options.
func (o Options) Create(path string, size int64) (*Raw, error) {
	sector, err := o.sectors()
	if err == nil && (size <= 0 || size%int64(sector) != 0) {
		err = fmt.Errorf("size %d, want a multiple of the sector size %d", size, sector)
	}
	if err != nil {
		return nil, fmt.Errorf("create disk image %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create disk image %s: remove the file that is there or choose another name: %w", path,
			fs.ErrExist)
	}
	if err != nil {
		return nil, fmt.Errorf("create disk image: %w", err)
	}
	if err = lock(f); err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, fmt.Errorf("create disk image %s: %w", path, errors.Join(err, f.Close(), os.Remove(path)))
	}
	return &Raw{f: f, size: size, sectorSize: sector}, nil
}

// Open is the function Open with options. What is not a regular file of whole sectors is an error.
func (o Options) Open(path string) (*Raw, error) {
	r, err := o.open(path)
	if err != nil {
		return nil, fmt.Errorf("open disk image %s: %w", path, err)
	}
	return r, nil
}

func (o Options) open(path string) (*Raw, error) {
	sector, err := o.sectors()
	if err != nil {
		return nil, err
	}
	flag := os.O_RDWR
	if o.ReadOnly {
		flag = os.O_RDONLY
	}
	// Without waiting: opening a named pipe must end in an error, not in a hang.
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("not a regular file")
	case info.Size() == 0 || info.Size()%int64(sector) != 0:
		err = fmt.Errorf("%d bytes, want a multiple of the sector size %d", info.Size(), sector)
	case !o.ReadOnly:
		err = lock(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Raw{f: f, size: info.Size(), sectorSize: sector, readOnly: o.ReadOnly}, nil
}

// reason strips the path, which our own message names.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

// ReadAt follows [io.ReaderAt].
func (r *Raw) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), r.size-off))
	if n >= chunkOfHole && r.hole(off, n) {
		clear(p[:n])
		if n < int64(len(p)) {
			return int(n), io.EOF
		}
		return int(n), nil
	}
	got, err := r.f.ReadAt(p[:n], off)
	if err == nil && n < int64(len(p)) {
		err = io.EOF
	}
	return got, err
}

// chunkOfHole is from how many bytes on it is cheaper to ask for a hole than to read its zeros.
const chunkOfHole = 64 << 10

// hole reports whether the file has nothing from off on for n bytes: they read as zeros.
func (r *Raw) hole(off, n int64) bool {
	if off < 0 {
		return false
	}
	start, _, err := r.data(off)
	return errors.Is(err, io.EOF) || err == nil && start >= off+n
}

// WriteAt follows [io.WriterAt]. A write past the end writes nothing and fails with ENOSPC.
func (r *Raw) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > r.size-int64(len(p)) {
		return 0, fmt.Errorf("write %d bytes at %d, disk image %s of %d bytes: %w", len(p), off, r.f.Name(), r.size,
			syscall.ENOSPC)
	}
	if r.pending && int64(len(p)) >= chunkOfHole && isZero(p) && r.hole(off, int64(len(p))) {
		return len(p), nil // they are there already, and take no room
	}
	return r.f.WriteAt(p, off)
}

// Sync makes everything written durable.
func (r *Raw) Sync() error {
	if r.readOnly || r.pending {
		return nil
	}
	return direct.Sync(r.f)
}

// Direct reads the image from the file's own disk, past the kernel's cache; only what was flushed is sure to be seen.
// Not every file system can do that, and the error says why. It is the image's to close.
func (r *Raw) Direct() (io.ReaderAt, error) {
	if r.pending {
		return nil, errors.New("the file is flushed once it is whole")
	}
	return r.direct.Of(r.f)
}

// DropCache makes everything written durable and forgets it, so that the next read comes from the file's own disk as
// far as the system allows.
func (r *Raw) DropCache() error {
	if err := r.Sync(); err != nil || r.pending {
		return err
	}
	return unix.Fadvise(int(r.f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// Whole reports whether the file is flushed as a whole, by [Output.Commit]: see [device.Whole].
func (r *Raw) Whole() bool { return r.pending }

// WriteBack starts to write n bytes at off to the file's own disk and does not wait for them. It promises nothing: Sync
// does.
func (r *Raw) WriteBack(off, n int64) error {
	return unix.SyncFileRange(int(r.f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// Size is the disk's size in bytes.
func (r *Raw) Size() int64 { return r.size }

// SectorSize is the size of a sector in bytes.
func (r *Raw) SectorSize() int { return r.sectorSize }

// Name is the path that the image was opened by.
func (r *Raw) Name() string { return r.f.Name() }

// Close ends the use and the lock. It does not flush.
func (r *Raw) Close() (err error) {
	if !r.readOnly { // by hand: a child of this process that is just being started may have a copy of the file
		err = unix.Flock(int(r.f.Fd()), unix.LOCK_UN)
	}
	return errors.Join(err, r.f.Close(), r.direct.Close())
}
