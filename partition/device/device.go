// Package device says what a disk, a partition of one and an image file have in common: bytes at offsets, a barrier and
// a geometry. Everything that reads or writes a disk takes a [Device] or a [Reader].
//
// Start with partition.Open, which gives a real one, exclusively; image/disk makes files, partition/disktest one in
// memory that records. A device of one's own needs no more than the methods of [Device]. What it can do beside that
// (read past a cache, write zeros by itself) it says by the optional interfaces here, and everybody asks for it by the
// functions of the same names.
package device

import (
	"errors"
	"fmt"
	"io"
)

// Reader is a device that is only read.
type Reader interface {
	io.ReaderAt
	Size() int64     // bytes
	SectorSize() int // bytes of a logical sector, 512 or 4096: what is written whole or not at all
}

// Device is a disk, an image of one, or a partition of either. Offsets are in bytes. Writers keep to whole sectors
// where a torn write would matter.
type Device interface {
	Reader
	io.WriterAt
	Sync() error // makes durable all that was written before
}

// Cached is a device between which and its readers there is a cache.
type Cached interface {
	// DropCache makes everything written durable and forgets it, so that the next read comes from the medium.
	DropCache() error
}

// Bypass is a device with a way past its cache.
type Bypass interface {
	// Direct reads what was flushed as the medium has it, or the error says why that cannot be done. The device closes
	// it.
	Direct() (io.ReaderAt, error)
}

// Backer is a device that can be told to begin with its writing.
type Backer interface {
	// WriteBack starts to write n bytes at off to the medium and does not wait for them. It promises nothing: Sync
	// does.
	WriteBack(off, n int64) error
}

// Whole is a device of which nothing counts before all of it is written: a file that is being made, and appears under
// its name once it was flushed as a whole.
type Whole interface {
	// Whole reports so. Sync makes nothing durable then, and what is read back comes from where it was written to.
	Whole() bool
}

// Zeroer is a device that writes zeros by itself.
type Zeroer interface {
	// Zero writes n zeros at off, as durable as what WriteAt writes.
	Zero(off, n int64) error
}

// Named is a device that has a path in this machine's file system.
type Named interface{ Path() string }

// DropCache makes the next read come from the medium. A device that is not [Cached] has nothing to drop.
func DropCache(dev Reader) error {
	if d, ok := dev.(Cached); ok {
		return d.DropCache()
	}
	return nil
}

// ErrCached is returned by [Direct] for a device that is no [Bypass]. Do: [DropCache], then read as usual.
var ErrCached = errors.New("the device has no way past its cache")

// Direct reads dev past every cache.
func Direct(dev Reader) (io.ReaderAt, error) {
	if d, ok := dev.(Bypass); ok {
		return d.Direct()
	}
	return nil, ErrCached
}

// WriteBack starts to write n bytes at off to the medium, where dev is a [Backer].
func WriteBack(dev Reader, off, n int64) error {
	if d, ok := dev.(Backer); ok {
		return d.WriteBack(off, n)
	}
	return nil
}

// IsWhole reports whether nothing of dev counts before all of it is written. What is no [Whole] is a disk.
func IsWhole(dev Reader) bool {
	d, ok := dev.(Whole)
	return ok && d.Whole()
}

// Zero writes n zeros at off: by one request where dev is a [Zeroer], else as data.
func Zero(dev Device, off, n int64) error {
	if d, ok := dev.(Zeroer); ok {
		return d.Zero(off, n)
	}
	_, err := dev.WriteAt(make([]byte, n), off)
	return err
}

// Section is size bytes of dev from off on. Reads and writes outside of it fail; Sync and [DropCache] are the whole
// device's. It is [Cached], a [Bypass], a [Backer] and [Whole] as far as dev is.
func Section(dev Device, off, size int64) Device { return &section{dev, off, size} }

type section struct {
	dev       Device
	off, size int64
}

func (s *section) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: before the start of the partition", off)
	}
	n := max(0, min(int64(len(p)), s.size-off))
	got, err := s.dev.ReadAt(p[:n], s.off+off)
	if int64(got) == n && (err == nil || errors.Is(err, io.EOF)) {
		err = nil
		if n < int64(len(p)) {
			err = io.EOF
		}
	}
	return got, err
}

func (s *section) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > s.size-int64(len(p)) {
		return 0, fmt.Errorf("write %d bytes at %d: outside of the partition of %d bytes", len(p), off, s.size)
	}
	return s.dev.WriteAt(p, s.off+off)
}

func (s *section) Sync() error      { return s.dev.Sync() }
func (s *section) Size() int64      { return s.size }
func (s *section) SectorSize() int  { return s.dev.SectorSize() }
func (s *section) DropCache() error { return DropCache(s.dev) }

func (s *section) Direct() (io.ReaderAt, error) {
	r, err := Direct(s.dev)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(r, s.off, s.size), nil
}

func (s *section) WriteBack(off, n int64) error { return WriteBack(s.dev, s.off+off, n) }

func (s *section) Whole() bool { return IsWhole(s.dev) }
