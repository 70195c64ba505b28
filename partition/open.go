package partition

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/direct"
)

// OpenOptions says how a disk is opened. The zero value opens it for writing and keeps everyone else out.
type OpenOptions struct {
	// ReadOnly opens to look only: nothing is checked, locked or kept out, and writes fail.
	ReadOnly bool
	// Partitions opens a disk of which only single partitions will be written, through Partition, while others may be
	// mounted. Writes to the disk itself fail.
	Partitions bool
	// SectorSize of an image file in bytes, 512 or 4096; 0 is that of the table that the file holds, and 512 where it
	// holds none. Block devices know their own.
	SectorSize int
}

// Disk is an open disk, image file or partition, and a Device. Its methods are safe for concurrent use.
type Disk struct {
	f          *os.File
	path       string
	size       int64
	sectorSize int
	block      bool
	o          OpenOptions
	sys        system

	mu    sync.Mutex
	claim *os.File // keeps others out of a whole block device; nil while partitions are open
	open  int      // partitions that are open

	direct direct.Lazy // past the cache
}

// minimum is the size of the smallest disk that makes sense: a table at both ends and something between.
const minimum = 1 * mib

// Open opens a block device or a regular file. What is neither, or too small for a partition table, is ErrForeign; what
// is mounted in any mount name space that can be seen, or held by another program, is [ErrBusy], and the message names
// where. The caller closes it.
func Open(path string, o OpenOptions) (*Disk, error) {
	d, err := open(path, o, hostSystem)
	if err != nil {
		return nil, fmt.Errorf("open disk %s: %w", path, err)
	}
	if d.size < minimum {
		err := fmt.Errorf("open disk %s: %d bytes, want at least %d: %w", path, d.size, minimum, ErrForeign)
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func open(path string, o OpenOptions, sys system) (*Disk, error) {
	info, err := os.Stat(path) // before opening: opening some things has effects
	if err != nil {
		return nil, bare(err)
	}
	d := &Disk{path: path, o: o, sys: sys}
	switch mode := info.Mode(); {
	case mode.IsRegular():
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		d.block = true
	default:
		return nil, fmt.Errorf("it is %s, want a disk or a disk image: %w", kind(mode), ErrForeign)
	}
	if !o.ReadOnly && !(o.Partitions && d.block) {
		if err := sys.unused(path, info); err != nil {
			return nil, err
		}
	}
	flag := os.O_RDWR
	if o.ReadOnly || o.Partitions && d.block {
		flag = os.O_RDONLY
	}
	if d.f, err = os.OpenFile(path, flag|unix.O_NONBLOCK, 0); err != nil {
		return nil, bare(err)
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// prepare locks the open disk and learns its size.
func (d *Disk) prepare() error {
	if !d.block {
		info, err := d.f.Stat()
		if err != nil {
			return err
		}
		d.size, d.sectorSize = info.Size(), d.o.SectorSize
		if d.sectorSize == 0 {
			d.sectorSize = d.madeFor()
		}
		if d.sectorSize != 512 && d.sectorSize != 4096 {
			return fmt.Errorf("sector size %d, want 512 or 4096", d.sectorSize)
		}
		d.size -= d.size % int64(d.sectorSize)
		if d.o.ReadOnly {
			return nil
		}
		return lock(d.f, 0)
	}
	dev := block.NewFromFile(d.f)
	size, err := dev.GetSize()
	if err != nil {
		return fmt.Errorf("ask for its size: %w", err)
	}
	d.size, d.sectorSize = int64(size), int(dev.GetSectorSize())
	if d.o.ReadOnly || d.o.Partitions {
		return nil
	}
	readOnly, err := dev.IsReadOnly()
	if err != nil {
		return fmt.Errorf("ask whether it is read-only: %w", err)
	}
	if readOnly {
		return fmt.Errorf("the device is read-only: %w", unix.EROFS)
	}
	if err := d.take(); err != nil {
		return err
	}
	if err := lock(d.f, 2*time.Second); err != nil {
		return err
	}
	// The kernel forgets that a page could not be written, and goes on to show it. What is read from here on is on the
	// medium.
	return d.DropCache()
}

// madeFor is the size of the sectors that a table in an image file was made for. It does not matter what cannot be read
// here: who reads the table says so.
func (d *Disk) madeFor() int {
	header := func(at int64) bool {
		b := make([]byte, len(signature))
		n, _ := d.f.ReadAt(b, at)
		return n == len(b) && string(b) == signature
	}
	for _, sector := range []int64{512, 4096} {
		if header(sector) {
			return int(sector)
		}
	}
	if end := d.size - d.size%4096; !header(d.size-512) && header(end-4096) {
		return 4096
	}
	return 512
}

// take claims a block device for us alone: the kernel then refuses mounts and other claims of it and its partitions.
func (d *Disk) take() error {
	if !d.block || d.claim != nil {
		return nil
	}
	f, err := os.OpenFile(d.path, os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("another program, a mounted file system or a volume on top of it holds %s; end that first: "+
			"%w", d.path, ErrBusy)
	}
	if err != nil {
		return bare(err)
	}
	d.claim = f
	return nil
}

// lock takes the lock that disk programs agree on. Programs that watch block devices hold it for moments, so there it
// is tried for a while.
func lock(f *os.File, patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := block.NewFromFile(f).TryLock(true)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("another program has locked %s; end it, or wait for it, and try again: %w", f.Name(),
				ErrBusy)
		}
	}
}

func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeCharDevice != 0:
		return "a character device"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "no regular file"
}

// ReadAt follows [io.ReaderAt].
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), d.size-off))
	got, err := d.f.ReadAt(p[:n], off)
	if err == nil && n < int64(len(p)) {
		err = io.EOF
	}
	return got, err
}

// WriteAt follows io.WriterAt. It fails on a disk that was opened to look or for its partitions, while partitions that
// Partition opened are open, and outside of the disk.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.writable(); err != nil {
		return 0, fmt.Errorf("write %s: %w", d.path, err)
	}
	if off < 0 || off > d.size-int64(len(p)) {
		return 0, fmt.Errorf("write %d bytes at %d, %s of %d bytes: %w", len(p), off, d.path, d.size, syscall.ENOSPC)
	}
	return d.f.WriteAt(p, off)
}

func (d *Disk) writable() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.o.ReadOnly:
		return errors.New("opened read-only")
	case d.o.Partitions:
		return errors.New("opened for its partitions only")
	case d.open > 0 && d.block:
		return fmt.Errorf("%d of its partitions are open; close them first", d.open)
	}
	return d.take()
}

// Sync makes everything written durable.
func (d *Disk) Sync() error {
	if d.o.ReadOnly || d.o.Partitions && d.block {
		return nil
	}
	return direct.Sync(d.f)
}

// Direct reads the disk past the kernel's cache; only what was flushed is sure to be seen. Not every file system can do
// that, and the error says why. It is the disk's to close.
func (d *Disk) Direct() (io.ReaderAt, error) { return d.direct.Of(d.f) }

// DropCache makes everything written durable and forgets it, so that the next read comes from the device.
func (d *Disk) DropCache() error {
	if err := d.Sync(); err != nil {
		return err
	}
	if d.block {
		// Needs a privilege; without it, the advice below does for pages that nobody else uses.
		if err := unix.IoctlSetInt(int(d.f.Fd()), unix.BLKFLSBUF, 0); err != nil && !errors.Is(err, unix.EACCES) &&
			!errors.Is(err, unix.EPERM) {
			return fmt.Errorf("forget cached sectors of %s: %w", d.path, err)
		}
	}
	return unix.Fadvise(int(d.f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// WriteBack starts to write n bytes at off to the medium and does not wait for them. It promises nothing: Sync does.
func (d *Disk) WriteBack(off, n int64) error {
	return unix.SyncFileRange(int(d.f.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

// Zero writes n zeros at off. A block device is asked to do it by itself, which spares the kernel's cache; the zeros
// are as durable as what WriteAt writes: once Sync has returned.
func (d *Disk) Zero(off, n int64) error {
	if d.block && off >= 0 && off <= d.size-n {
		if err := d.writable(); err != nil {
			return fmt.Errorf("write %s: %w", d.path, err)
		}
		area := [2]uint64{uint64(off), uint64(n)}
		if _, _, err := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), unix.BLKZEROOUT,
			uintptr(unsafe.Pointer(&area))); err == 0 {
			return nil
		}
	}
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

// Size is the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// SectorSize is the size of a logical sector in bytes.
func (d *Disk) SectorSize() int { return d.sectorSize }

// Path is the path that the disk was opened by.
func (d *Disk) Path() string { return d.path }

// Close ends the use and lets others in again. It does not flush. Partitions that are open stay open.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := errors.Join(d.f.Close(), d.direct.Close())
	if d.claim != nil {
		err = errors.Join(err, d.claim.Close())
		d.claim = nil
	}
	return err
}
