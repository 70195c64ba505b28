package predict

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf16"
)

// rename gives a file another name in its directory, as EDK II's driver does (FatPkg, FatSetFileInfo): its entries are
// marked as free, and new ones are put where they fit first. What is in the file, and where, stays. All of it is one
// write for each sector that changes, then a flush: the driver writes whole pages of its cache, but with the same bytes
// around.
//
// It fails where the directory has no room left: then the firmware would have to make it longer, which is not modelled.
func (v *volume) rename(dir uint32, from, to string) error {
	disk, ok := v.dev.(io.WriterAt)
	if !ok {
		return fmt.Errorf("a file is renamed, and the disk cannot be written: %w", ErrNotModelled)
	}
	clusters, err := v.chain(dir, -1)
	if err != nil {
		return err
	}
	all := make([]byte, int64(len(clusters))*v.cluster)
	for i, c := range clusters {
		if err := v.readRun(all[int64(i)*v.cluster:int64(i+1)*v.cluster], v.data+int64(c-2)*v.cluster); err != nil {
			return err
		}
	}
	before := slices.Clone(all)
	first, last, found := findEntries(all, from)
	if !found {
		return fmt.Errorf("%s: %w", from, fs.ErrNotExist)
	}
	short := slices.Clone(all[last*32 : last*32+32])
	for i := first; i <= last; i++ {
		all[i*32] = 0xe5
	}
	entries := append(longEntries(to, checksum(short[:11])), short...)
	at, run := -1, 0
	for i := 0; i*32 < len(all) && at < 0; i++ {
		if run++; all[i*32] != 0 && all[i*32] != 0xe5 {
			run = 0
		}
		if run == len(entries)/32 {
			at = i + 1 - run
		}
	}
	if at < 0 {
		return fmt.Errorf("%s: no room for it in its directory: %w", to, ErrNotModelled)
	}
	copy(all[at*32:], entries)
	sector := int64(v.dev.SectorSize())
	for off := int64(0); off < int64(len(all)); off += sector {
		if string(all[off:off+sector]) == string(before[off:off+sector]) {
			continue
		}
		place := v.data + int64(clusters[off/v.cluster]-2)*v.cluster + off%v.cluster
		if _, err := disk.WriteAt(all[off:off+sector], place); err != nil {
			return err
		}
	}
	v.forget()
	if s, ok := v.dev.(interface{ Sync() error }); ok {
		return s.Sync()
	}
	return nil
}

// findEntries is the place of a file's entries in a directory, in steps of 32 bytes: its long name's and, last, its
// short one's.
func findEntries(all []byte, name string) (first, last int, found bool) {
	var long []uint16
	start := -1
	for i := 0; i*32 < len(all) && all[i*32] != 0; i++ {
		e := all[i*32 : i*32+32]
		switch {
		case e[0] == 0xe5:
			start, long = -1, nil
		case e[11]&0x3f == 0x0f:
			if e[0]&0x40 != 0 {
				start, long = i, nil
			}
			long = append(units(e), long...)
		default:
			if start < 0 {
				start = i
			}
			if strings.EqualFold(longName(long), name) || strings.EqualFold(shortName(e), name) {
				return start, i, true
			}
			start, long = -1, nil
		}
	}
	return 0, 0, false
}

// places of the 13 units of a long name in one of its entries.
var places = []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

func units(e []byte) (u []uint16) {
	for _, at := range places {
		u = append(u, uint16(e[at])|uint16(e[at+1])<<8)
	}
	return u
}

// longEntries are those of a long name, in the order on the disk: the end of the name first.
func longEntries(name string, sum byte) (b []byte) {
	text := utf16.Encode([]rune(name))
	n := (len(text) + len(places) - 1) / len(places)
	for i := n; i > 0; i-- {
		e := make([]byte, 32)
		if e[0] = byte(i); i == n {
			e[0] |= 0x40
		}
		e[11], e[13] = 0x0f, sum
		for k, at := range places {
			u := uint16(0xffff)
			switch j := (i-1)*len(places) + k; {
			case j < len(text):
				u = text[j]
			case j == len(text):
				u = 0
			}
			e[at], e[at+1] = byte(u), byte(u>>8)
		}
		b = append(b, e...)
	}
	return b
}
