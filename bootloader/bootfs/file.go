package bootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"time"
)

// Info describes a file or a directory.
type Info struct {
	Name    string // the last element of its path as the directory has it; "/" for the root
	Size    int64  // bytes, 0 for a directory
	Dir     bool
	ModTime time.Time // UTC, to two seconds; zero if the directory has no valid date
}

func (e *entry) info() Info {
	i := Info{Name: e.name, Size: e.size, Dir: e.dir, ModTime: e.mod}
	if e.dir {
		i.Size = 0
	}
	return i
}

// Stat describes what is at path. Paths have forward slashes; names match in any case, and by their short form too. Of
// two that match, one by code page 850 only comes second.
func (f *FS) Stat(path string) (Info, error) {
	e, _, err := f.lookup(split(path))
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", path, err)
	}
	if e.name == "" {
		e.name = "/"
	}
	return e.info(), nil
}

// ReadDir lists a directory in the order in which it is on the device.
func (f *FS) ReadDir(path string) ([]Info, error) {
	d, err := f.openDir(split(path))
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	var infos []Info
	err = f.list(d, func(e entry) bool {
		infos = append(infos, e.info())
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	return infos, nil
}

// File reads one file. It is valid until that file is changed, needs no Close, and ReadAt may be called concurrently.
type File struct {
	f    *FS
	dev  io.ReaderAt
	path string
	info Info
	runs []fileRun
	off  int64
}

// fileRun is an extent and which cluster of the file it starts with.
type fileRun struct {
	at uint32
	extent
}

var (
	_ io.ReaderAt   = (*File)(nil)
	_ io.ReadSeeker = (*File)(nil)
)

// Open finds a file and reads its chain from the first table on the device. A chain that is too short for the file is
// [ErrDamaged].
func (f *FS) Open(path string) (*File, error) {
	e, _, err := f.lookup(split(path))
	if err == nil && e.dir {
		err = errIsDir
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	file := &File{f: f, dev: f.dev, path: path, info: e.info()}
	if file.runs, err = f.runs(e); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return file, nil
}

func (f *FS) runs(e entry) ([]fileRun, error) {
	var runs []fileRun
	ch := &chain{f: f}
	c := e.first
	want := f.vol.clustersFor(e.size)
	if want > int64(f.vol.end) {
		return nil, fmt.Errorf("%d bytes are more than the volume has: %w", e.size, ErrDamaged)
	}
	for n := int64(0); n < want; n++ {
		if !f.vol.valid(c) {
			return nil, fmt.Errorf("its chain has %d clusters, %d bytes need %d: %w", n, e.size, want, ErrDamaged)
		}
		if k := len(runs) - 1; k >= 0 && runs[k].first+runs[k].count == c {
			runs[k].count++
		} else {
			runs = append(runs, fileRun{uint32(n), extent{c, 1}})
		}
		var err error
		if c, err = ch.next(c); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// On is the same file read through another reader of the same device, such as one past all caches.
func (file *File) On(dev io.ReaderAt) *File {
	other := *file
	other.dev, other.off = dev, 0
	return &other
}

// Info describes the file.
func (file *File) Info() Info { return file.info }

// Size is the file's length in bytes.
func (file *File) Size() int64 { return file.info.Size }

// ReadAt reads from the device each time. Errors of the device surface.
func (file *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset", file.path)
	}
	n := 0
	for n < len(p) && off < file.info.Size {
		cluster := int64(file.f.vol.cluster)
		i := sort.Search(len(file.runs), func(i int) bool { return int64(file.runs[i].at) > off/cluster }) - 1
		run := file.runs[i]
		within := off - int64(run.at)*cluster
		size := min(int64(len(p)-n), int64(run.count)*cluster-within, file.info.Size-off)
		if err := readFull(file.dev, file.f.vol.offset(run.first)+within, p[n:n+int(size)]); err != nil {
			return n, fmt.Errorf("read %s: %w", file.path, err)
		}
		n += int(size)
		off += size
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Read reads on from where the last Read or Seek ended.
func (file *File) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := file.ReadAt(p, file.off)
	file.off += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek sets where the next Read starts.
func (file *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += file.off
	case io.SeekEnd:
		offset += file.info.Size
	default:
		return 0, fmt.Errorf("seek %s: whence %d", file.path, whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek %s: negative offset", file.path)
	}
	file.off = offset
	return offset, nil
}

// maxReadFile bounds what ReadFile puts into memory.
const maxReadFile = 16 << 20

// ReadFile returns a small file whole; above 16 MiB it refuses, use Open.
func (f *FS) ReadFile(path string) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	if file.Size() > maxReadFile {
		return nil, fmt.Errorf("read %s: %d bytes are too much for memory: %w", path, file.Size(), fs.ErrInvalid)
	}
	b := make([]byte, file.Size())
	if _, err := file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}
