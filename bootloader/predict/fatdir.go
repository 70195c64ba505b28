package predict

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
)

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
