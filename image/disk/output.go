package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Output is a file that appears under its name once it is whole: until Commit it has another one, and Close removes it.
type Output struct {
	*os.File
	path string
	done bool
}

// NewOutput makes the file that will be path. Where something is already, or none can be made, it is an error now and
// not when the work is done: [fs.ErrExist], [fs.ErrNotExist], [fs.ErrPermission].
func NewOutput(path string) (*Output, error) {
	name := filepath.Base(path)
	info, err := os.Stat(path)
	switch {
	case path == "" || os.IsPathSeparator(path[len(path)-1]) || err == nil && info.IsDir():
		return nil, fmt.Errorf("make %s: it is a directory; name a file in it: %w", path, fs.ErrExist)
	case err == nil:
		return nil, fmt.Errorf("make %s: remove the file that is there or choose another name: %w", path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("make %s: %w", path, reason(err))
	}
	return newOutput(filepath.Dir(path), name, path)
}

// NewScratch makes a file in a directory that is never committed: it is gone when it is closed.
func NewScratch(dir string) (*Output, error) {
	return newOutput(dir, "pawl", filepath.Join(dir, "temporary file"))
}

func newOutput(dir, name, path string) (*Output, error) {
	temp := filepath.Join(dir, fmt.Sprintf(".%.200s.%08x", name, rand.Uint32()))
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", path, reason(err))
	}
	return &Output{File: f, path: path}, nil
}

// Raw gives the file the size of a disk and opens it as one. The file stays the output's to close. Sync does nothing:
// Commit makes all of it durable, and what is not committed is gone anyway.
func (o *Output) Raw(size int64, sectorSize int) (*Raw, error) {
	sector, err := Options{SectorSize: sectorSize}.sectors()
	if err == nil {
		err = o.Truncate(size)
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", o.path, reason(err))
	}
	return &Raw{f: o.File, size: size, sectorSize: sector, pending: true}, nil
}

// Commit makes what was written durable and gives the file its name. A file that came there meanwhile is left alone.
func (o *Output) Commit() error {
	if err := o.Sync(); err != nil {
		return fmt.Errorf("make %s: %w", o.path, reason(err))
	}
	err := unix.Renameat2(unix.AT_FDCWD, o.Name(), unix.AT_FDCWD, o.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system does not know how
		if _, there := os.Lstat(o.path); there == nil {
			err = unix.EEXIST
		} else {
			err = os.Rename(o.Name(), o.path)
		}
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", o.path, err)
	}
	o.done = true
	dir, err := os.Open(filepath.Dir(o.path))
	if err != nil {
		return err
	}
	if err = dir.Sync(); errors.Is(err, unix.EINVAL) { // no such thing there
		err = nil
	}
	return errors.Join(err, dir.Close())
}

// Close ends the use. Without Commit the file is gone.
func (o *Output) Close() error {
	err := o.File.Close()
	if !o.done {
		err = errors.Join(err, os.Remove(o.Name()))
	}
	return err
}
