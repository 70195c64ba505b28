package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// Limits of an archive: files that are remembered, and bytes of one whose holes cost nothing.
const (
	maxEntries = 16384
	maxSparse  = 8 << 30
)

// tarStore is a tar archive on disk that is not packed. Its files are found by their headers, once, and read in place.
type tarStore struct {
	path  string
	opens func(path string) (File, error) // nil: a file of this machine

	mu    sync.Mutex
	files map[string]extent // nil until the first open
}

// extent is where a file is: so many bytes from an offset on, or, where some of them are holes, so many files behind
// the first.
type extent struct {
	offset, size int64
	sparse       bool
	nth          int
}

// File is an archive that is open.
type File interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

func (t *tarStore) archive() (File, error) {
	if t.opens != nil {
		return t.opens(t.path)
	}
	return openFile(system{}, t.path)
}

func (t *tarStore) open(name string) (body, error) {
	f, err := t.archive()
	if err != nil {
		return nil, err
	}
	e, err := t.find(f, name)
	var content io.Reader = io.NewSectionReader(f, e.offset, e.size)
	if err == nil && e.sparse {
		content, err = unfold(f, e.nth)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return localBody{&part{content, f}}, nil
}

type part struct {
	io.Reader
	io.Closer
}

// unfold reads the n'th file of the archive, with its holes.
func unfold(f File, n int) (io.Reader, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := tar.NewReader(f)
	for range n + 1 {
		if _, err := r.Next(); err != nil {
			return nil, unreadable(err)
		}
	}
	return r, nil
}

func (t *tarStore) find(f File, name string) (extent, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files == nil {
		files, err := scan(f)
		if err != nil {
			return extent{}, fmt.Errorf("read archive %s: %w", t.path, err)
		}
		t.files = files
	}
	e, found := t.files[name]
	if !found {
		return extent{}, &fs.PathError{Op: "open", Path: t.path + ":" + name, Err: fs.ErrNotExist}
	}
	return e, nil
}

// scan finds the regular files of an archive. The last of one name counts, as for tar itself.
func scan(f File) (map[string]extent, error) {
	files, links := map[string]extent{}, map[string]string{}
	if err := notPacked(f); err != nil {
		return nil, err
	}
	r := tar.NewReader(f) // it seeks over contents
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			for name, to := range links {
				if e, found := files[to]; found {
					files[name] = e
				}
			}
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("want a tar archive that is not packed: %w: %w", err, ErrUnreadable)
		}
		if len(files)+len(links) >= maxEntries {
			return nil, fmt.Errorf("more than %d files: %w", maxEntries, ErrUnsafe)
		}
		switch name := path.Clean(h.Name); h.Typeflag {
		case tar.TypeSymlink: // "docker save" writes a layer that is there twice so
			links[name] = path.Join(path.Dir(name), h.Linkname)
			continue
		case tar.TypeLink:
			links[name] = path.Clean(h.Linkname)
			continue
		case tar.TypeReg, tar.TypeGNUSparse:
			if isSparse(h) && h.Size > maxSparse {
				return nil, fmt.Errorf("%s has %d bytes with its holes, at most %d are read: %w", some([]string{name}),
					h.Size, int64(maxSparse), ErrUnsafe)
			}
		default:
			continue
		}
		at, err := f.Seek(0, io.SeekCurrent) // the reader does not read ahead
		if err != nil {
			return nil, err
		}
		files[path.Clean(h.Name)] = extent{at, h.Size, isSparse(h), n}
	}
}

// isSparse tells a file with holes that are not in the archive: in the old format of GNU tar, or in its PAX formats
// 0.0, 0.1 and 1.0.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// notPacked refuses an archive that is packed as a whole: its files could not be found and read in place.
func notPacked(f io.ReaderAt) error {
	magic := make([]byte, 6)
	n, err := f.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for by, start := range map[string]string{"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd", "xz": "\xfd7zXZ\x00",
		"bzip2": "BZh"} {
		if strings.HasPrefix(string(magic[:n]), start) {
			return fmt.Errorf("it is packed with %s as a whole; unpack it first (%s -d): %w", by, by, ErrUnreadable)
		}
	}
	return nil
}
