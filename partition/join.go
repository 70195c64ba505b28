package partition

import (
	"errors"
	"fmt"
)

// joined is a disk for reading as a whole, one partition of which is read through the device that was opened for it:
// the kernel caches a disk and its partitions apart, and what was written to one may not be seen in the other.
type joined struct {
	Device
	part       Device
	start, end int64
}

// Join is a disk for reading as a whole, with the bytes of the partition of that label from the device that was opened
// for it. Without such a partition it is the disk alone.
func Join(disk Device, layout Layout, label string, part Device) Device {
	p, err := layout.Find(label)
	if err != nil {
		return disk
	}
	start := p.First * int64(disk.SectorSize())
	return &joined{disk, part, start, start + part.Size()}
}

func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; ; {
		at := off + int64(n)
		end, from, base := j.start, j.Device, int64(0)
		switch {
		case at >= j.start && at < j.end:
			end, from, base = j.end, j.part, j.start
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
