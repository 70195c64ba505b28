package partition

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"unsafe"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/direct"
)

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
	var err error
	if d.locked { // by hand: a child of this process that is just being started may have a copy of the file
		err = block.NewFromFile(d.f).Unlock()
		d.locked = false
	}
	err = errors.Join(err, d.f.Close(), d.direct.Close())
	if d.claim != nil {
		err = errors.Join(err, d.claim.Close())
		d.claim = nil
	}
	return err
}
