package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

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

	mu     sync.Mutex
	locked bool     // others that ask for the lock
	claim  *os.File // keeps others out of a whole block device; nil while partitions are open
	open   int      // partitions that are open

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
		return d.lock(0)
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
	if err := d.lock(2 * time.Second); err != nil {
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
func (d *Disk) lock(patience time.Duration) error {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := block.NewFromFile(d.f).TryLock(true)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			d.locked = err == nil
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("another program has locked %s; end it, or wait for it, and try again: %w", d.path,
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
