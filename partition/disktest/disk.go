// Package disktest is a disk for tests: it lives in memory, records what is written and flushed, and gives back every
// disk that a power cut could have left behind.
//
// Start with New. Give the Disk to the code under test, call Record before the operation of interest and Trace after
// it, then walk [Trace.Crashes]. FailAt makes single operations fail. Mutants of a trace (DropFlush, Swap, DropStep)
// prove that a test would notice.
//
// The failure model. A flush makes everything before it durable. Between two flushes each block that was written is
// old or new on its own, in any order; a block written more than once may hold any of its versions. At most one block
// was just being written when power failed: it is old, new, garbage, or cannot be read. A block is 512 bytes, or 4096
// to model disks and caches that rewrite whole pages, neighbours included. Options.Torn adds sectors of which a part
// arrived. A write elsewhere (Atomic: a firmware
// variable) is durable when it returns, whole or absent, and is not held back by disk writes that were not flushed.
//
// Disks are sparse, and copies share what they have in common, so a crash disk costs microseconds. The package does
// not model disks that lie about a flush (drop the flush from the trace to see what that does), bits that rot, or
// blocks destroyed that nobody wrote.
package disktest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"syscall"
)

// ErrUnreadable is returned when a read covers a sector that a power cut left unreadable. Writing the sector heals it.
var ErrUnreadable = errors.New("unreadable sector")

// unit is the granularity of unreadable areas, in bytes.
const unit = 512

// Disk is a sparse device in memory. It implements the devices of this project: [io.ReaderAt], [io.WriterAt], Sync,
// Size and SectorSize. It reads as zeros where nothing was written. It is safe for concurrent use.
type Disk struct {
	size       int64
	sectorSize int

	mu      sync.Mutex
	pages   pages
	bad     map[int64]bool // unreadable units
	atomics map[string][]byte
	step    string
	trace   *Trace // nil while nothing is recorded
	faults  []*pending
	failed  bool
	flushes int
}

// New returns an empty disk of size bytes with sectors of 512 or 4096 bytes. It panics on a size that is not a multiple
// of the sector size, since that is a fault of the test.
func New(size int64, sectorSize int) *Disk {
	if sectorSize != 512 && sectorSize != 4096 {
		panic(fmt.Sprintf("disktest: sector size %d, want 512 or 4096", sectorSize))
	}
	if size <= 0 || size%int64(sectorSize) != 0 {
		panic(fmt.Sprintf("disktest: size %d is not a multiple of the sector size %d", size, sectorSize))
	}
	return &Disk{size: size, sectorSize: sectorSize, pages: newPages()}
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size }

// SectorSize is the size of a logical sector in bytes.
func (d *Disk) SectorSize() int { return d.sectorSize }

// Clone returns a disk with the same content that shares nothing with d that either could change. The copy records
// nothing and has no faults. It costs little: pages are shared until one side writes.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clone()
}

func (d *Disk) clone() *Disk {
	return &Disk{
		size: d.size, sectorSize: d.sectorSize, pages: d.pages.share(),
		bad: maps.Clone(d.bad), atomics: maps.Clone(d.atomics),
	}
}

// Resized returns a clone with another size: larger, as a disk image or a virtual disk grows, or smaller, where
// what lies beyond the end is lost.
func (d *Disk) Resized(size int64) *Disk {
	c := d.Clone()
	c.size = size
	c.pages.truncate(size)
	return c
}

// Record forgets the trace so far and records from the present content on.
func (d *Disk) Record() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trace = &Trace{base: d.clone()}
	d.step = ""
}

// Step says that the operations that follow belong to the named step.
func (d *Disk) Step(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.step = name
}

// Trace returns what was recorded since Record. It panics when Record was never called.
func (d *Disk) Trace() *Trace {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trace == nil {
		panic("disktest: Trace without Record")
	}
	return &Trace{base: d.trace.base, Ops: append([]Op(nil), d.trace.Ops...)}
}

// Atomic records a write elsewhere that is whole or absent, such as a firmware variable; a nil value deletes the key.
func (d *Disk) Atomic(key string, value []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if value != nil {
		value = append([]byte{}, value...)
	}
	d.setAtomic(key, value)
	d.record(Op{Action: Atomic, Key: key, Value: value})
}

func (d *Disk) setAtomic(key string, value []byte) {
	if value == nil {
		delete(d.atomics, key)
		return
	}
	if d.atomics == nil {
		d.atomics = map[string][]byte{}
	}
	d.atomics[key] = value
}

// Atomics returns a copy of what Atomic wrote and did not delete. The values must not be changed.
func (d *Disk) Atomics() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := maps.Clone(d.atomics)
	if m == nil {
		m = map[string][]byte{}
	}
	return m
}

// ReadAt follows [io.ReaderAt]. A range that covers an unreadable sector fails with [ErrUnreadable] and EIO.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 {
		return 0, fmt.Errorf("read at %d: %w", off, syscall.EINVAL)
	}
	if d.fault(ReadFails) {
		return 0, fmt.Errorf("read %d bytes at %d: %w", len(p), off, syscall.EIO)
	}
	n := int(max(0, min(int64(len(p)), d.size-off)))
	if d.spoiled(off, int64(n)) {
		return 0, fmt.Errorf("read %d bytes at %d: %w: %w", len(p), off, ErrUnreadable, syscall.EIO)
	}
	d.pages.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt follows [io.WriterAt]. A write beyond the end writes nothing and fails with ENOSPC, as block devices do.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 {
		return 0, fmt.Errorf("write at %d: %w", off, syscall.EINVAL)
	}
	if off+int64(len(p)) > d.size {
		return 0, fmt.Errorf("write %d bytes at %d, disk of %d bytes: %w", len(p), off, d.size, syscall.ENOSPC)
	}
	switch {
	case d.fault(WriteFails):
		return 0, fmt.Errorf("write %d bytes at %d: %w", len(p), off, syscall.EIO)
	case d.fault(NoSpace):
		return 0, fmt.Errorf("write %d bytes at %d: %w", len(p), off, syscall.ENOSPC)
	case d.fault(ShortWrite):
		n := len(p) / 2 / unit * unit
		d.write(p[:n], off)
		return n, fmt.Errorf("write %d bytes at %d: %w", len(p), off, io.ErrShortWrite)
	}
	d.write(p, off)
	return len(p), nil
}

func (d *Disk) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	d.put(p, off)
	d.record(Op{Action: Write, Off: off, Data: append([]byte(nil), p...)})
}

// put changes the content and records nothing.
func (d *Disk) put(p []byte, off int64) {
	d.pages.write(p, off)
	if len(d.bad) > 0 {
		for u := (off + unit - 1) / unit; (u+1)*unit <= off+int64(len(p)); u++ {
			delete(d.bad, u)
		}
	}
}

// Sync makes everything written before it durable. After a Sync that fails, what was written since the last good one
// stays unflushed in the trace.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault(SyncFails) {
		return fmt.Errorf("flush: %w", syscall.EIO)
	}
	d.flushes++
	d.record(Op{Action: Flush})
	return nil
}

// Spoil makes the sectors of length bytes at off unreadable until they are written.
func (d *Disk) Spoil(off, length int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoil(off, length)
}

func (d *Disk) spoiled(off, length int64) bool {
	if len(d.bad) == 0 {
		return false
	}
	for u := off / unit; u*unit < off+length; u++ {
		if d.bad[u] {
			return true
		}
	}
	return false
}

func (d *Disk) spoil(off, length int64) {
	if d.bad == nil {
		d.bad = map[int64]bool{}
	}
	for u := off / unit; u*unit < off+length; u++ {
		d.bad[u] = true
	}
}

// Flushes is the number of flushes so far that did not fail.
func (d *Disk) Flushes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushes
}

func (d *Disk) record(o Op) {
	if d.trace == nil {
		return
	}
	o.Step, o.Index = d.step, len(d.trace.Ops)
	d.trace.Ops = append(d.trace.Ops, o)
}
