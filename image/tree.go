package image

import (
	"archive/tar"
	"fmt"
	"path"
	"strings"
)

// tree decides which entries of the layers, read from top to bottom, are the assets that a container would see under
// base. Specification: OCI image format, layer.md, "Whiteouts".
type tree struct {
	base string // "usr/install/amd64"

	above   state // of the layers above
	current state // of the layer that is read
}

// state is what layers say about the paths from the root to the assets.
type state struct {
	files map[string]bool // hide the same path below, and everything under it
	dirs  map[string]bool // hide what is no directory at the same path below: it has taken its place
	// directories that a layer has files in and does not make: they may be links in a layer below
	implied map[string]bool
	gone    map[string]bool // whiteouts: hide the path below, and everything under it
	opaque  map[string]bool // directories that hide everything under them below
}

func newState() state {
	return state{files: map[string]bool{}, dirs: map[string]bool{}, implied: map[string]bool{}, gone: map[string]bool{},
		opaque: map[string]bool{}}
}

// entries is how many there are, of all kinds.
func (s state) entries() int {
	return len(s.files) + len(s.dirs) + len(s.implied) + len(s.gone) + len(s.opaque)
}

func newTree(base string) *tree {
	return &tree{base: base, above: newState(), current: newState()}
}

// seal ends a layer: what it said now holds for those below.
func (t *tree) seal() {
	for p := range t.current.dirs {
		delete(t.current.implied, p)
		delete(t.above.implied, p) // it is in the directory that this layer makes
	}
	for _, pair := range [][2]map[string]bool{
		{t.above.implied, t.current.implied},
		{t.above.files, t.current.files}, {t.above.dirs, t.current.dirs}, {t.above.gone, t.current.gone},
		{t.above.opaque, t.current.opaque},
	} {
		for p := range pair[1] {
			pair[0][p] = true
		}
	}
	t.current = newState()
}

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// enter looks at the next entry of the layer. wanted tells that its content is the asset of that name.
func (t *tree) enter(h *tar.Header) (name string, wanted bool, err error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return "", false, nil
	}
	p, err := cleanPath(h.Name)
	if err != nil {
		return "", false, err
	}
	if t.above.entries()+t.current.entries() > 4*maxAssets {
		return "", false, fmt.Errorf("more than %d entries under /%s: %w", 4*maxAssets, t.base, ErrUnsafe)
	}
	dir, last := path.Split(p)
	dir = path.Clean(dir)
	if strings.HasPrefix(last, whiteout) {
		t.hide(dir, last)
		return "", false, nil
	}
	switch {
	case t.hidden(p):
		return "", false, nil
	case h.Typeflag == tar.TypeSymlink && t.above.implied[p]:
		return "", false, fmt.Errorf("/%s is a symbolic link, and a layer above has files behind it; want a "+
			"directory: %w", p, ErrUnsafe)
	case h.Typeflag != tar.TypeDir && (t.above.dirs[p] || t.above.implied[p] && t.under(p)):
		t.current.gone[p] = true // a directory stands in its place again, but what was in the one below is gone
		return "", false, nil
	case t.leads(p):
		if h.Typeflag != tar.TypeDir {
			return "", false, fmt.Errorf("/%s is %s, want a directory: %w", p, describe(h.Typeflag), ErrUnsafe)
		}
		t.current.dirs[p] = true
		return "", false, nil
	case !t.under(p):
		return "", false, nil
	}
	return t.inside(p, h)
}

// inside takes an entry under base.
func (t *tree) inside(p string, h *tar.Header) (string, bool, error) {
	name := strings.TrimPrefix(p, t.base+"/")
	if strings.ContainsAny(name, "\\") || strings.ContainsFunc(name, unprintable) {
		return "", false, fmt.Errorf("asset %q: its name has a backslash, or what cannot be printed: %w", name,
			ErrUnsafe)
	}
	for up := path.Dir(p); up != "."; up = path.Dir(up) {
		if t.current.files[up] {
			return "", false, fmt.Errorf("/%s is a file and a directory in one layer: %w", up, ErrUnsafe)
		}
		t.current.implied[up] = true
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if t.current.files[p] {
			return "", false, fmt.Errorf("/%s is a file and a directory in one layer: %w", p, ErrUnsafe)
		}
		t.current.dirs[p] = true
		return "", false, nil
	case tar.TypeReg, tar.TypeGNUSparse:
		if t.current.files[p] || t.current.dirs[p] || t.current.implied[p] {
			return "", false, fmt.Errorf("/%s is twice in one layer: %w", p, ErrUnsafe)
		}
		t.current.files[p] = true
		return name, true, nil
	}
	return "", false, fmt.Errorf("/%s is %s, want a regular file: %w", p, describe(h.Typeflag), ErrUnsafe)
}

// hide takes a whiteout in dir, if it matters to base.
func (t *tree) hide(dir, last string) {
	if last == opaque {
		if dir == "." || t.leads(dir) || t.under(dir) {
			t.current.opaque[dir], t.current.dirs[dir] = true, true
		}
		return
	}
	if strings.HasPrefix(last, whiteout+whiteout) { // bookkeeping of old union file systems
		return
	}
	if p := path.Join(dir, strings.TrimPrefix(last, whiteout)); t.leads(p) || t.under(p) {
		t.current.gone[p] = true
	}
}

// hidden tells that a layer above hides p.
func (t *tree) hidden(p string) bool {
	for q := p; ; q = path.Dir(q) {
		if t.above.gone[q] || t.above.files[q] || (q != p && t.above.opaque[q]) {
			return true
		}
		if q == "." {
			return false
		}
	}
}

// leads tells that p is base or one of its parents.
func (t *tree) leads(p string) bool { return p == t.base || strings.HasPrefix(t.base, p+"/") }

// under tells that p is below base.
func (t *tree) under(p string) bool { return strings.HasPrefix(p, t.base+"/") }

// maxPath is Linux's PATH_MAX.
const maxPath = 4096

// cleanPath is an entry's path from the root, without a slash in front; "." is the root. A path that climbs is refused.
func cleanPath(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("a path of %d bytes, at most %d are read: %w", len(name), maxPath, ErrUnsafe)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q climbs: %w", name, ErrUnsafe)
		}
	}
	return path.Clean(strings.TrimLeft(name, "/")), nil
}
