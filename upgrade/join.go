package upgrade

import (
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/partition"
)

// joined is a disk for reading as a whole, whose boot file system is read through the partition that was opened: the kernel
// caches a disk and its partitions apart, and what was written to one may not be seen in the other.
type joined struct {
	Device
	boot       Device
	start, end int64
}

// join returns the disk with its boot file system.
func join(disk Device, layout partition.Layout, boot Device) Device {
	p, err := layout.Find("EFI")
	if err != nil {
		return disk
	}
	start := p.First * int64(disk.SectorSize())
	return &joined{disk, boot, start, start + boot.Size()}
}

func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; ; {
		at := off + int64(n)
		end, from, base := j.start, j.Device, int64(0)
		switch {
		case at >= j.start && at < j.end:
			end, from, base = j.end, j.boot, j.start
		case at >= j.end:
			end = off + int64(len(p))
		}
		want := p[n:min(int64(len(p)), end-off)]
		got, err := from.ReadAt(want, at-base)
		switch n += got; {
		case n == len(p):
			return n, nil
		case got < len(want):
			return n, err
		}
	}
}

func (j *joined) WriteAt(p []byte, off int64) (int, error) {
	return 0, fmt.Errorf("write %d bytes at %d: %w", len(p), off, errors.ErrUnsupported)
}

func (j *joined) Sync() error { return nil }
