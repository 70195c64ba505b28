// Package bootfs changes files on the FAT32 file system that firmware and loader read (the ESP), so that a power cut
// at any write leaves every file either as it was or as it was to become.
//
// Start with Open, then [FS.Create], [FS.Replace] and [FS.Overwrite]; Format makes a new volume.
//
// # What it guarantees
//
//   - A file appears, changes or vanishes by one write of one sector of its directory, after everything that it needs
//     is flushed. A cut before leaves clusters that are marked used and belong to nobody; they are found when the
//     volume is opened and are free again.
//   - Isolation. Each directory in Options.Zones, with all below it, is a zone; everything else is one more. No
//     operation rewrites a 4 KiB block of the device that holds anything of another zone: neither clusters, nor entries
//     of the first table, nor of the second. So even a block that is destroyed while it is written costs only the zone
//     that was being changed, and FS.Clear makes that zone usable again. New clusters keep further apart: no two zones
//     meet in 32 KiB of the first table or in 64 KiB of data, because firmware that caches in such pages loses all of
//     one when it meets a sector that cannot be read (seen with OVMF).
//   - Boot sector, FSInfo and the dirty flags are never written after Format: they share a block that everything needs.
//   - File contents and lookups follow the first table as it is on the device, which is the only one that firmware
//     reads. The second table is written along with the first and is used for nothing but to account for clusters
//     where the first cannot be read.
//   - Names match in any case, and by their short form too, whether that was written by code page 437 or 850.
//   - Errors of the device always surface. After a failed write or flush the FS refuses further changes.
//
// # What it does not do
//
// It does not rename, does not set attributes, and does not repair damage of others. It is not safe for concurrent use,
// and nobody else may change the volume meanwhile. FAT12, FAT16, exFAT, volumes of more than 4 Mi clusters and
// volumes with mirroring switched off are refused. FSInfo's free count becomes stale on volumes that were formatted by
// others; on ours it says "unknown". Time stamps are UTC.
//
// Isolation is between zones: a sector that is destroyed by a change outside them can cost whatever lies outside them,
// what the loader reads there included. Keep such changes few. FS.Apart tells of a directory that was filled before it
// was a zone.
//
// # Why Format is not go-diskfs's
//
// go-diskfs v1.9.4 sizes its tables to the sector, so the second table and the data region do not start on a 4 KiB
// block; its tables are too short on some sizes (64 MiB); the volume id and the time cannot be given.
//
// Specification: Microsoft FAT32 File System Specification 1.03 (December 2000), and ECMA-107.
package bootfs

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pawl-os/pawl/partition/device"
)

// Errors that callers act on. Missing and existing files wrap fs.ErrNotExist and fs.ErrExist.
var (
	// ErrFull is returned before anything is written when a file does not fit; the text has the numbers.
	// Do: remove files of the same zone.
	ErrFull = errors.New("no room on the boot file system")
	// ErrDamaged is returned when what is on the device is no FAT32, or contradicts itself. Do: clear the zone it is
	// in; outside the zones, check the volume with another tool.
	ErrDamaged = errors.New("boot file system is damaged")
	// ErrShared is returned before anything is written when a change would rewrite a 4 KiB block that another zone
	// needs, as happens on volumes that others filled. Do: open the volume without zones, remove the directory that is
	// named and make it again with zones.
	ErrShared = errors.New("block is shared with another zone")
	// ErrTooLarge is returned before anything is written for a file of 4 GiB or more. Do: split it.
	ErrTooLarge = errors.New("file is too large for FAT32")
)

// Options says how a volume is used. The zero value has no zones and takes time stamps from [time.Now].
type Options struct {
	// directories, at most four, none inside another; they need not exist yet. The first two get a half each, others
	// are small.
	Zones []string
	Now   func() time.Time // time stamps of files that are written
}

// FS is an opened volume. It holds the table and one byte a cluster in memory, and no file.
type FS struct {
	dev   device.Device
	vol   volume
	now   func() time.Time
	zones [][]string // path elements of each zone

	table []uint32 // the first table, or the second where the first cannot be read
	stale []bool   // one per sector of the table: the two copies differ or one cannot be read
	empty []bool   // one per sector of the table: it gives no cluster to any file
	claim []byte   // one per cluster: who reaches it, see zones.go
	lost  byte     // owners whose clusters are not all known, because something of theirs is damaged

	spare    []byte // memory for blocks
	problems []Problem
	zeroed   bool  // zeros behind the end mark of a directory are written and not flushed
	settled  bool  // what was read at Open is known to be on the medium
	broken   error // the write or flush that failed
}

// Open reads the volume's tables and directories. It writes nothing. Damage does not fail it, unless the boot sector
// itself makes no sense ([ErrDamaged]): see Check.
func Open(dev device.Device, o Options) (*FS, error) {
	vol, err := readVolume(dev)
	if err != nil {
		return nil, fmt.Errorf("open boot file system: %w", err)
	}
	f := &FS{dev: dev, vol: vol, now: o.Now}
	if f.now == nil {
		f.now = time.Now
	}
	if err := f.setZones(o.Zones); err != nil {
		return nil, fmt.Errorf("open boot file system: %w", err)
	}
	f.load()
	f.walk()
	return f, nil
}

func (f *FS) setZones(paths []string) error {
	if len(paths) > maxZones {
		return fmt.Errorf("%d zones, at most %d", len(paths), maxZones)
	}
	for _, p := range paths {
		elems := split(p)
		if len(elems) == 0 {
			return fmt.Errorf("zone %q: the root directory cannot be a zone", p)
		}
		for _, other := range f.zones {
			if inside(elems, other) || inside(other, elems) {
				return fmt.Errorf("zone %q: overlaps zone %q", p, strings.Join(other, "/"))
			}
		}
		f.zones = append(f.zones, elems)
	}
	return nil
}

// inside reports whether path is dir or below it.
func inside(path, dir []string) bool {
	if len(path) < len(dir) {
		return false
	}
	for i := range dir {
		if !strings.EqualFold(path[i], dir[i]) {
			return false
		}
	}
	return true
}

// begin opens every operation that writes. The first one flushes: what Open read may be in a cache only, left by a
// program that was killed before its own flush, and all that follows relies on it.
func (f *FS) begin() error {
	if f.broken != nil {
		return fmt.Errorf("open the volume again: an earlier change failed: %w", f.broken)
	}
	if f.settled {
		return nil
	}
	if err := f.flush(); err != nil {
		return err
	}
	f.settled = true
	return nil
}

// Sync makes everything durable that was written to the volume, by others before it was opened too.
func (f *FS) Sync() error { return f.flush() }

func (f *FS) flush() error {
	if f.broken != nil {
		return f.broken
	}
	if err := f.dev.Sync(); err != nil {
		f.broken = fmt.Errorf("flush: %w", err)
		return f.broken
	}
	f.zeroed = false
	return nil
}

// write is the only way to the device. It keeps to the volume and to whole sectors.
func (f *FS) write(off int64, p []byte) error {
	if f.broken != nil {
		return f.broken
	}
	unit := int64(f.vol.unit)
	if off < f.vol.fat[0] || off%unit != 0 || int64(len(p))%unit != 0 || off+int64(len(p)) > f.vol.size {
		f.broken = fmt.Errorf("write %d bytes at %d: outside the volume's tables and data", len(p), off)
		return f.broken
	}
	n, err := f.dev.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		f.broken = fmt.Errorf("write %d bytes at %d: %w", len(p), off, err)
		return f.broken
	}
	return nil
}

// read fills p, or fails.
func (f *FS) read(off int64, p []byte) error { return readFull(f.dev, off, p) }

func readFull(r io.ReaderAt, off int64, p []byte) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}
