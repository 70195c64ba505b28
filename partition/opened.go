package partition

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/partition/device"
)

// Opened is an open partition, and a Device. The caller closes it, before the disk.
type Opened struct {
	Device
	Entry Partition // what the table says of it

	once  sync.Once
	close func() error
}

// DropCache makes everything written durable and forgets it, so that the next read comes from the device.
func (p *Opened) DropCache() error { return device.DropCache(p.Device) }

// Direct reads the partition past the kernel's cache, or the error says why that cannot be done; see [Disk.Direct].
func (p *Opened) Direct() (io.ReaderAt, error) { return device.Direct(p.Device) }

// WriteBack starts to write n bytes at off to the medium and does not wait for them. It promises nothing: Sync does.
func (p *Opened) WriteBack(off, n int64) error { return device.WriteBack(p.Device, off, n) }

// Zero writes n zeros at off.
func (p *Opened) Zero(off, n int64) error { return device.Zero(p.Device, off, n) }

// Close ends the use. It does not flush.
func (p *Opened) Close() error {
	err := os.ErrClosed
	p.once.Do(func() { err = p.close() })
	return err
}

// Partition reads the table and opens the partition with the label. On a block device that is the partition's own node,
// exclusively: the kernel caches the disk and the partition apart, so one of the two must be left alone; the disk
// itself cannot be written until its partitions are closed. A mounted partition is [ErrBusy], and the message names
// where. On an image file it is a section of the file. A disk that was opened read-only gives partitions that are
// read-only.
func (d *Disk) Partition(label string) (*Opened, error) {
	p, err := d.partition(label)
	if err != nil {
		return nil, fmt.Errorf("open partition %s of %s: %w", label, d.path, err)
	}
	return p, nil
}

func (d *Disk) partition(label string) (*Opened, error) {
	if d.o.Partitions {
		if err := d.DropCache(); err != nil { // another program may have changed the table
			return nil, err
		}
	}
	l, err := Read(d)
	if err != nil {
		return nil, err
	}
	entry, err := l.Find(label)
	if err != nil {
		return nil, err
	}
	if !d.block {
		return &Opened{Device: Section(fileDevice{d}, entry), Entry: entry, close: func() error { return nil }}, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claim != nil {
		// The kernel lets nobody claim a partition while the disk is claimed, us included.
		if err := errors.Join(d.f.Sync(), d.claim.Close()); err != nil {
			return nil, err
		}
		d.claim = nil
	}
	node, err := d.sys.partitionNode(d.f, entry.Number)
	if err != nil {
		return nil, err
	}
	inner, err := open(node, OpenOptions{ReadOnly: d.o.ReadOnly}, d.sys)
	if err != nil {
		return nil, err
	}
	if want := l.Bytes(entry); inner.size != want {
		err := fmt.Errorf("the kernel gives %s %d bytes and the table %d; restart, or let the kernel read the table "+
			"again", node, inner.size, want)
		return nil, errors.Join(err, inner.Close())
	}
	d.open++
	return &Opened{Device: inner, Entry: entry, close: func() error {
		d.mu.Lock()
		d.open--
		d.mu.Unlock()
		return inner.Close()
	}}, nil
}

// fileDevice lets the sections of an image file be written when the whole may not be.
type fileDevice struct{ *Disk }

func (f fileDevice) WriteAt(p []byte, off int64) (int, error) {
	if f.o.ReadOnly {
		return 0, fmt.Errorf("write %s: opened read-only", f.path)
	}
	return f.f.WriteAt(p, off)
}

// tellKernel makes the kernel's partitions those of the layout, one by one, so that those in use stay.
func (d *Disk) tellKernel(l Layout) error {
	if !d.block {
		return nil
	}
	have, err := d.sys.kernelPartitions(d.f)
	if err != nil {
		return fmt.Errorf("ask the kernel for its partitions: %w", err)
	}
	dev, sector := block.NewFromFile(d.f), int64(l.SectorSize)
	tell := func(number int, what string, err error) error {
		if err != nil {
			return fmt.Errorf("the table is written; tell the kernel that partition %d %s: %w; restart to make it "+
				"known", number, what, err)
		}
		return nil
	}
	want := map[int]extent{}
	for _, p := range l.Partitions {
		want[p.Number] = extent{p.First * sector, p.Sectors * sector}
	}
	// What is gone first: it may lie where something new comes.
	for number, was := range have {
		if now, stays := want[number]; !stays || now.start != was.start {
			if err := tell(number, "is gone", dev.KernelPartitionDelete(number)); err != nil {
				return err
			}
			delete(have, number)
		}
	}
	for _, p := range l.Partitions {
		now := want[p.Number]
		was, known := have[p.Number]
		switch {
		case !known:
			err = tell(p.Number, "is new", dev.KernelPartitionAdd(p.Number, uint64(now.start), uint64(now.length)))
		case was != now:
			err = tell(p.Number, "has grown", dev.KernelPartitionResize(p.Number, uint64(now.start),
				uint64(now.length)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// extent is a place on a disk in bytes.
type extent struct{ start, length int64 }

// system is where the kernel's view of disks and mounts is read.
type system struct{ sys, proc, dev string }

var hostSystem = system{"/sys", "/proc", "/dev"}

// devDir is a block device's directory in sysfs.
func (s system) devDir(number uint64) string {
	return filepath.Join(s.sys, "dev/block", fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)))
}

func deviceNumber(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return uint64(st.Rdev), nil
}

// children lists a disk's partitions as the kernel has them: number to directory in sysfs.
func (s system) children(number uint64) (map[int]string, error) {
	dir, err := filepath.EvalSymlinks(s.devDir(number))
	if err != nil {
		return nil, bare(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		n, err := readInt(filepath.Join(dir, e.Name(), "partition"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[int(n)] = filepath.Join(dir, e.Name())
	}
	return found, nil
}

func (s system) kernelPartitions(f *os.File) (map[int]extent, error) {
	number, err := deviceNumber(f)
	if err != nil {
		return nil, err
	}
	dirs, err := s.children(number)
	if err != nil {
		return nil, err
	}
	found := map[int]extent{}
	for n, dir := range dirs {
		start, err1 := readInt(filepath.Join(dir, "start"))
		size, err2 := readInt(filepath.Join(dir, "size"))
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		found[n] = extent{start * 512, size * 512} // sysfs counts in 512 bytes on every disk
	}
	return found, nil
}

// partitionNode finds the device node of a partition, and makes sure that it is the one.
func (s system) partitionNode(f *os.File, n int) (string, error) {
	number, err := deviceNumber(f)
	if err != nil {
		return "", err
	}
	dirs, err := s.children(number)
	if err != nil {
		return "", err
	}
	dir, ok := dirs[n]
	if !ok {
		return "", fmt.Errorf("the kernel knows no partition %d of it; restart, or let the kernel read the table "+
			"again: %w", n, ErrNotFound)
	}
	node := filepath.Join(s.dev, filepath.Base(dir))
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return "", fmt.Errorf("device node %s: %w", node, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return "", err
	}
	if got := fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)),
		unix.Minor(uint64(st.Rdev))); got != strings.TrimSpace(string(text)) {
		return "", fmt.Errorf("device node %s is device %s, and the partition is %s", node, got,
			strings.TrimSpace(string(text)))
	}
	return node, nil
}

func readInt(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
