package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"unicode/utf16"
)

// page returns the cached page that holds off, which lies in an area of length bytes at base.
func (v *volume) page(base, length, size, off int64) ([]byte, int64, error) {
	if v.exact {
		size = int64(v.dev.SectorSize())
	}
	start := base + (off-base)/size*size
	if b, ok := v.pages[start]; ok {
		if b == nil {
			return nil, 0, fmt.Errorf("read at %d: %w", start, errCorrupt)
		}
		return b, start, nil
	}
	n := min(size, base+length-start)
	if n <= 0 {
		return nil, 0, errCorrupt
	}
	var b []byte
	if v.exact {
		b = make([]byte, n)
	} else {
		b = spare.Get().(*[dataPage]byte)[:n]
	}
	if err := v.read(b, start); err != nil {
		v.pages[start] = nil
		return nil, 0, err
	}
	v.pages[start] = b
	return b, start, nil
}

// spare keeps pages that no volume caches any more: clearing new ones takes longer than most boots.
var spare = sync.Pool{New: func() any { return new([dataPage]byte) }}

// forget empties the cache.
func (v *volume) forget() {
	for _, b := range v.pages {
		if cap(b) == dataPage {
			spare.Put((*[dataPage]byte)(b[:dataPage]))
		}
	}
	clear(v.pages)
}

// link is the first table's entry for cluster c; on every FAT the end of a chain is at least endOfChain.
func (v *volume) link(c uint32) (uint32, error) {
	off, width := v.table+int64(c)*int64(v.bits)/8, (v.bits+7)/8
	var raw [4]byte
	for n := 0; n < width; { // an entry of a FAT12 may lie in two sectors
		at := off + int64(n)
		if at+1 > v.table+v.tableLen {
			return 0, errCorrupt
		}
		b, start, err := v.page(v.table, v.tableLen, v.tablePage, at)
		if err != nil {
			return 0, err
		}
		n += copy(raw[n:width], b[at-start:])
	}
	next := binary.LittleEndian.Uint32(raw[:])
	if v.bits == 12 && c&1 != 0 {
		next >>= 4
	}
	special := uint32(1)<<min(v.bits, 28) - 9
	next &= special | 15
	if next > special {
		next = endOfChain
	}
	return next, nil
}

const endOfChain = 0x0ffffff8

// chain lists the clusters of a file of size bytes; of a directory (size < 0) all.
func (v *volume) chain(first uint32, size int64) ([]uint32, error) {
	var clusters []uint32
	for c := first; size < 0 || int64(len(clusters))*v.cluster < size; {
		if size < 0 && c >= endOfChain {
			break
		}
		if c < 2 || c >= v.end || len(clusters) > int(v.end) {
			return clusters, errCorrupt
		}
		clusters = append(clusters, c)
		if size >= 0 && int64(len(clusters))*v.cluster >= size {
			break
		}
		var err error
		if c, err = v.link(c); err != nil {
			return clusters, err
		}
	}
	return clusters, nil
}

// readRun reads length bytes of the data region at off: pages through the cache, whole ones straight.
func (v *volume) readRun(p []byte, off int64) error {
	for len(p) > 0 {
		page := v.dataPage
		if v.exact {
			page = int64(v.dev.SectorSize())
		}
		if whole := int64(len(p)) / page * page; (off-v.base)%page == 0 && whole > 0 {
			if err := v.read(p[:whole], off); err != nil {
				return err
			}
			p, off = p[whole:], off+whole
			continue
		}
		b, start, err := v.page(v.base, v.limit-v.base, v.dataPage, off)
		if err != nil {
			return err
		}
		n := copy(p, b[off-start:])
		if n == 0 {
			return errCorrupt
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// file is a directory entry.
type file struct {
	name  string // the long name, or the short one where there is none
	short string
	dir   bool
	first uint32
	size  int64
}

// directory is where a directory lies: offsets and lengths, up to where its chain breaks.
func (v *volume) directory(first uint32) (places [][2]int64, err error) {
	if first == 0 && v.bits != 32 {
		return [][2]int64{{v.base, v.rootLen}}, nil
	}
	clusters, err := v.chain(first, -1)
	for _, c := range clusters {
		places = append(places, [2]int64{v.data + int64(c-2)*v.cluster, v.cluster})
	}
	return places, err
}

// list calls visit for the entries of a directory in order, until it returns false.
func (v *volume) list(first uint32, visit func(file) bool) error {
	var units [63 * 13]uint16 // of the long name's parts, each in its place
	var long []uint16         // those of all parts; nil when there is no long name
	var sum, next byte
	places, chainErr := v.directory(first)
	page := spare.Get().(*[dataPage]byte)
	defer spare.Put(page)
	for _, place := range places {
		buf := page[:min(place[1], dataPage)]
		if place[1] > dataPage {
			buf = make([]byte, place[1])
		}
		if err := v.readRun(buf, place[0]); err != nil {
			return err
		}
		for e := buf; len(e) >= 32; e = e[32:] {
			switch {
			case e[0] == 0:
				return nil
			case e[0] == 0xe5:
				long, next = nil, 0
			case e[11]&0x3f == 0x0f:
				order := e[0]
				if order&0x40 != 0 {
					sum, next = e[13], order&0x3f
					long = units[:13*int(next)]
				} else if order != next || e[13] != sum {
					long, next = nil, 0
					continue
				}
				if next == 0 {
					long = nil
					continue
				}
				n := 13 * (int(next) - 1)
				for _, r := range [3][2]int{{1, 11}, {14, 26}, {28, 32}} {
					for i := r[0]; i < r[1]; i += 2 {
						long[n] = binary.LittleEndian.Uint16(e[i:])
						n++
					}
				}
				next--
			case e[11]&0x08 != 0:
				long, next = nil, 0
			default:
				f := file{short: shortName(e), dir: e[11]&0x10 != 0, size: int64(binary.LittleEndian.Uint32(e[28:]))}
				f.first = uint32(binary.LittleEndian.Uint16(e[20:]))<<16 | uint32(binary.LittleEndian.Uint16(e[26:]))
				f.name = f.short
				if long != nil && next == 0 && sum == checksum(e[:11]) {
					f.name = longName(long)
				}
				long, next = nil, 0
				if !visit(f) {
					return nil
				}
			}
		}
	}
	return chainErr
}

func longName(units []uint16) string {
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

func shortName(e []byte) string {
	base, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

func checksum(short []byte) byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// open finds a path, with slashes or backslashes, in any case.
func (v *volume) open(path string) (file, error) {
	at := file{dir: true, first: v.root}
	for _, elem := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if !at.dir {
			return file{}, fs.ErrNotExist
		}
		var found *file
		err := v.list(at.first, func(f file) bool {
			if strings.EqualFold(f.name, elem) || strings.EqualFold(f.short, elem) {
				found = &f
			}
			return found == nil
		})
		if found == nil {
			if err == nil {
				err = fs.ErrNotExist
			}
			return file{}, fmt.Errorf("%s: %w", path, err)
		}
		at = *found
	}
	return at, nil
}

// content reads a whole file, as LoadImage and systemd-boot do.
func (v *volume) content(f file) ([]byte, error) {
	if f.dir {
		return nil, fs.ErrNotExist
	}
	clusters, err := v.chain(f.first, f.size)
	if err != nil {
		return nil, err
	}
	b := make([]byte, int64(len(clusters))*v.cluster)
	for i := 0; i < len(clusters); {
		n := 1
		for i+n < len(clusters) && clusters[i+n] == clusters[i]+uint32(n) {
			n++
		}
		// The driver reads a run of clusters at once, and of the last cluster only what the file has.
		from, to := int64(i)*v.cluster, min(int64(i+n)*v.cluster, f.size)
		if err := v.readRun(b[from:to], v.data+int64(clusters[i]-2)*v.cluster); err != nil {
			return nil, err
		}
		i += n
	}
	return b[:f.size], nil
}

// skim opens a file for reading a part of it. Its chain is followed to the end.
func (v *volume) skim(f file) (*taken, error) {
	if f.dir {
		return nil, fs.ErrNotExist
	}
	clusters, err := v.chain(f.first, f.size)
	if err != nil {
		return nil, err
	}
	return &taken{&skimmed{v, clusters}, f.size}, nil
}

// skimmed is the clusters of a file.
type skimmed struct {
	v        *volume
	clusters []uint32
}

// ReadAt follows [io.ReaderAt].
func (s *skimmed) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at, from := (off+int64(n))/s.v.cluster, (off+int64(n))%s.v.cluster
		if at >= int64(len(s.clusters)) {
			return n, io.EOF
		}
		part := p[n:min(len(p), n+int(s.v.cluster-from))]
		if err := s.v.readRun(part, s.v.data+int64(s.clusters[at]-2)*s.v.cluster+from); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// text reads a configuration file: up to the first NUL.
func (v *volume) text(f file) (string, error) {
	b, err := v.content(f)
	if err != nil {
		return "", err
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b), nil
}
