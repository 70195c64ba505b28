package bootfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// view reads a volume by itself, by the first table only and as strictly as it can: the judge of what bootfs leaves.
type view struct {
	dev      io.ReaderAt
	cluster  int64
	fat      [2]int64
	fatBytes int64
	data     int64
	clusters uint32
	taken    map[uint32]string   // cluster to the path that has it
	files    map[string][]byte   // path to content
	dirs     map[string]bool     // paths
	chains   map[string][]uint32 // path to clusters, of directories too; "" is the root
}

// readView fails on the first thing that is not as the specification says, but for paths for which skip is true: those
// it does not look into.
func readView(dev io.ReaderAt, skip func(path string) bool) (*view, error) {
	b := make([]byte, 512)
	if _, err := dev.ReadAt(b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	sector := int64(le.Uint16(b[11:]))
	if b[510] != 0x55 || b[511] != 0xaa || sector == 0 {
		return nil, errors.New("no boot sector")
	}
	v := &view{
		dev: dev, cluster: sector * int64(b[13]), fatBytes: int64(le.Uint32(b[36:])) * sector,
		taken: map[uint32]string{}, files: map[string][]byte{}, dirs: map[string]bool{}, chains: map[string][]uint32{},
	}
	v.fat[0] = int64(le.Uint16(b[14:])) * sector
	v.fat[1] = v.fat[0] + v.fatBytes*int64(b[16]-1)
	v.data = v.fat[1] + v.fatBytes
	v.clusters = uint32((int64(le.Uint32(b[32:]))*sector - v.data) / v.cluster)
	return v, v.readDir("", le.Uint32(b[44:]), skip)
}

func (v *view) entry(copy int, c uint32) (uint32, error) {
	b := make([]byte, 4)
	_, err := v.dev.ReadAt(b, v.fat[copy]+4*int64(c))
	return binary.LittleEndian.Uint32(b) & 0x0fffffff, err
}

func (v *view) chain(path string, c uint32) ([]byte, error) {
	var out []byte
	for {
		if c < 2 || c >= v.clusters+2 {
			return nil, fmt.Errorf("%s: cluster %d", path, c)
		}
		if other, ok := v.taken[c]; ok {
			return nil, fmt.Errorf("%s: cluster %d belongs to %s", path, c, other)
		}
		v.taken[c] = path
		v.chains[path] = append(v.chains[path], c)
		b := make([]byte, v.cluster)
		if _, err := v.dev.ReadAt(b, v.data+int64(c-2)*v.cluster); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, b...)
		next, err := v.entry(0, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if next >= 0x0ffffff8 {
			return out, nil
		}
		c = next
	}
}

func (v *view) readDir(path string, first uint32, skip func(string) bool) error {
	data, err := v.chain(path, first)
	if err != nil {
		return err
	}
	v.dirs[path] = true
	var long []uint16
	want := 0
	for n := 0; n < len(data) && data[n] != 0; n += 32 {
		b := data[n : n+32]
		switch {
		case b[0] == 0xe5:
			long, want = nil, 0
			continue
		case b[11] == 0x0f:
			k := int(b[0] & 0x3f)
			if b[0]&0x40 != 0 {
				long, want = make([]uint16, 13*k), k
			}
			if k == 0 || k != want {
				return fmt.Errorf("%s: a part of a long name out of order", path)
			}
			want--
			for i, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
				long[13*(k-1)+i] = binary.LittleEndian.Uint16(b[at:])
			}
			continue
		case b[11]&8 != 0:
			continue
		case n == 0 && path != "" && string(b[:11]) == ".          ":
			if at := uint32(binary.LittleEndian.Uint16(b[20:]))<<16 | uint32(binary.LittleEndian.Uint16(b[26:])); at != first {
				return fmt.Errorf("%s: . is cluster %d, not %d", path, at, first)
			}
			continue
		case n == 32 && path != "" && string(b[:11]) == "..         ":
			continue
		}
		if want != 0 {
			return fmt.Errorf("%s: a long name without its end", path)
		}
		name := strings.TrimRight(string(b[:8]), " ")
		if b[12]&0x08 != 0 {
			name = strings.ToLower(name)
		}
		if ext := strings.TrimRight(string(b[8:11]), " "); ext != "" && b[12]&0x10 != 0 {
			name += "." + strings.ToLower(ext)
		} else if ext != "" {
			name += "." + ext
		}
		if long != nil {
			for i, u := range long {
				if u == 0 {
					long = long[:i]
					break
				}
			}
			name = string(utf16.Decode(long))
			long = nil
		}
		if err := v.readEntry(strings.TrimPrefix(path+"/"+name, "/"), b, skip); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) readEntry(path string, b []byte, skip func(string) bool) error {
	first := uint32(binary.LittleEndian.Uint16(b[20:]))<<16 | uint32(binary.LittleEndian.Uint16(b[26:]))
	size := int64(binary.LittleEndian.Uint32(b[28:]))
	if v.dirs[path] || v.files[path] != nil {
		return fmt.Errorf("%s is there twice", path)
	}
	if skip != nil && skip(path) {
		return nil
	}
	if b[11]&0x10 != 0 {
		return v.readDir(path, first, skip)
	}
	if size == 0 && first == 0 {
		v.files[path] = []byte{}
		return nil
	}
	data, err := v.chain(path, first)
	if err != nil {
		return err
	}
	if n := (size + v.cluster - 1) / v.cluster * v.cluster; n != int64(len(data)) {
		return fmt.Errorf("%s: %d bytes in %d bytes of clusters", path, size, len(data))
	}
	v.files[path] = data[:size]
	return nil
}

// blocks returns the 4 KiB blocks of the device that hold anything of the paths for which of is true.
func (v *view) blocks(of func(path string) bool) map[int64]string {
	out := map[int64]string{}
	for path, chain := range v.chains {
		if !of(path) {
			continue
		}
		for _, c := range chain {
			out[(v.fat[0]+4*int64(c))/4096] = path
			out[(v.fat[1]+4*int64(c))/4096] = path
			for at := v.data + int64(c-2)*v.cluster; at < v.data+int64(c-1)*v.cluster; at += 512 {
				out[at/4096] = path
			}
		}
	}
	return out
}

// same compares the files for which of is true.
func (v *view) same(w *view, of func(path string) bool) error {
	for path, data := range v.files {
		if got, ok := w.files[path]; of(path) && (!ok || !bytes.Equal(got, data)) {
			return fmt.Errorf("%s has changed or is gone", path)
		}
	}
	for path := range w.files {
		if _, ok := v.files[path]; of(path) && !ok {
			return fmt.Errorf("%s has appeared", path)
		}
	}
	return nil
}

// shape is a volume as others may make it.
type shape struct {
	unit       int // sector of the device
	sector     int
	perCluster int
	reserved   int
	tables     int
	perTable   int // sectors; 0: as many as are needed
	clusters   int
}

// make writes an empty volume of that shape.
func (s shape) make(dev io.WriterAt) {
	if s.perTable == 0 {
		s.perTable = (4*(s.clusters+2) + s.sector - 1) / s.sector
	}
	b := make([]byte, s.sector)
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90mkfs.fat")
	le.PutUint16(b[11:], uint16(s.sector))
	b[13] = byte(s.perCluster)
	le.PutUint16(b[14:], uint16(s.reserved))
	b[16], b[21] = byte(s.tables), 0xf8
	total := s.reserved + s.tables*s.perTable + s.clusters*s.perCluster
	le.PutUint32(b[32:], uint32(total))
	le.PutUint32(b[36:], uint32(s.perTable))
	le.PutUint32(b[44:], 2)
	copy(b[82:], "FAT32   ")
	b[510], b[511] = 0x55, 0xaa
	dev.WriteAt(b, 0)
	table := make([]byte, s.sector)
	le.PutUint32(table[0:], 0x0ffffff8)
	le.PutUint32(table[4:], 0x0fffffff)
	le.PutUint32(table[8:], 0x0ffffff8)
	for i := range s.tables {
		dev.WriteAt(table, int64(s.reserved+i*s.perTable)*int64(s.sector))
	}
}

// soil fills free clusters with what looks like files, as old directories leave it.
func (s shape) soil(dev io.WriterAt) {
	start := int64(s.reserved+s.tables*s.perTable) * int64(s.sector)
	junk := bytes.Repeat([]byte("STALE   BIN "+
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x07\x00\x00\x00"), s.sector*s.perCluster/32)
	for c := 1; c < s.clusters; c++ {
		dev.WriteAt(junk, start+int64(c*len(junk)))
	}
}

// size is the size of the device that it needs, in whole MiB.
func (s shape) size() int64 {
	n := int64(s.reserved+2*(s.perTable+s.clusters/64+16)+s.clusters*s.perCluster) * int64(s.sector)
	return (n + 1<<20 - 1) >> 20 << 20
}
