package image

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
)

// maxEntries bounds the files of an archive that are remembered.
const maxEntries = 16384

// tarStore is a tar archive on disk that is not packed. Its files are found by their headers, once, and read in place.
type tarStore struct {
	path string

	mu    sync.Mutex
	files map[string]extent // nil until the first open
}

type extent struct{ offset, size int64 }

func (t *tarStore) open(name string) (body, error) {
	f, err := openFile(system{}, t.path)
	if err != nil {
		return nil, err
	}
	e, err := t.find(f, name)
	if err != nil {
		f.Close()
		return nil, err
	}
	return localBody{&part{io.NewSectionReader(f, e.offset, e.size), f}}, nil
}

type part struct {
	*io.SectionReader
	io.Closer
}

func (t *tarStore) find(f *os.File, name string) (extent, error) {
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
func scan(f *os.File) (map[string]extent, error) {
	files, links := map[string]extent{}, map[string]string{}
	for r := tar.NewReader(f); ; { // it seeks over contents
		h, err := r.Next()
		if err == io.EOF {
			for name, to := range links {
				if e, found := files[to]; found {
					files[name] = e
				}
			}
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w; want a tar archive that is not packed", err)
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
		case tar.TypeReg:
		default:
			continue
		}
		at, err := f.Seek(0, io.SeekCurrent) // the reader does not read ahead
		if err != nil {
			return nil, err
		}
		files[path.Clean(h.Name)] = extent{at, h.Size}
	}
}
