package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An ISO 9660 that is a disk as well: the file system's descriptors lie in the first MiB of the disk, behind the
// partition table and before the first partition. So a stick with these bytes is the disk, and a CD with them starts
// what the disk would start: UEFI takes the EFI partition (El Torito without emulation), a BIOS the whole as a hard
// disk (El Torito with emulation). Beside that the ISO shows one file, which is the EFI partition.
//
// Specifications: ECMA-119 (ISO 9660), El Torito 1.0, UEFI 2.10 section 13.3.2.1. Sectors are of 2048 bytes:
//
//	16  primary volume descriptor    20  path table, little endian
//	17  boot record (El Torito)      21  path table, big endian
//	18  end of the descriptors       22  root directory
//	19  boot catalog
const (
	isoSector  = 2048
	isoFirst   = 16
	isoCatalog = 19
	isoLittle  = 20
	isoBig     = 21
	isoRoot    = 22
	isoEnd     = 23
	isoFile    = "EFI.IMG;1"
)

// Area is a part of a disk, in bytes.
type Area struct{ Offset, Size int64 }

// writeISO writes the disk with the descriptors in it.
func writeISO(ctx context.Context, s *stream, src Source, o WriteOptions) error {
	at := int64(isoFirst * isoSector)
	if o.EFI.Size <= 0 || o.EFI.Offset%isoSector != 0 || o.EFI.Offset < isoEnd*isoSector ||
		o.EFI.Offset+o.EFI.Size > src.Size() {
		return fmt.Errorf("an iso needs a disk with an EFI partition, behind its first %d bytes: %w", isoEnd*isoSector,
			ErrFormat)
	}
	gap := make([]byte, (isoEnd-isoFirst)*isoSector)
	if err := readAll(ctx, src, gap, at); err != nil {
		return err
	}
	if !isZero(gap) {
		return fmt.Errorf("the disk has data where an iso has its descriptors, at bytes %d to %d: %w", at,
			isoEnd*isoSector, ErrFormat)
	}
	return writeRaw(ctx, s, &overlaid{src, at, isoDescriptors(src.Size(), o)}, o)
}

// overlaid is a disk with other bytes at one place.
type overlaid struct {
	Source
	at   int64
	over []byte
}

func (o *overlaid) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.Source.ReadAt(p, off)
	if from, to := max(off, o.at), min(off+int64(n), o.at+int64(len(o.over))); from < to {
		copy(p[from-off:to-off], o.over[from-o.at:])
	}
	return n, err
}

// data is where the disk has bytes, or the overlay has.
func (o *overlaid) data(off int64) (start, end int64, err error) {
	if off < o.at+int64(len(o.over)) {
		return off, o.at + int64(len(o.over)), nil
	}
	if h, ok := o.Source.(holed); ok {
		return h.data(off)
	}
	return off, o.Size(), nil
}

// isoDescriptors are the sectors from isoFirst to before isoEnd.
func isoDescriptors(size int64, o WriteOptions) []byte {
	b := make([]byte, (isoEnd-isoFirst)*isoSector)
	sector := func(n int) []byte { return b[(n-isoFirst)*isoSector:][:isoSector] }
	le, be := binary.LittleEndian, binary.BigEndian
	made := o.Time
	if made.IsZero() {
		made = epoch
	}
	made = made.UTC()

	root := isoRecord("\x00", isoRoot, isoSector, true, made)
	table := []byte{1, 0, isoRoot, 0, 0, 0, 1, 0, 0, 0} // the root is its only directory
	copy(sector(isoLittle), table)
	copy(sector(isoBig), []byte{1, 0, 0, 0, 0, isoRoot, 0, 1, 0, 0})

	p := sector(isoFirst)
	copy(p, "\x01CD001\x01")
	text := func(at, n int, s string) { copy(p[at:at+n], s+strings.Repeat(" ", n)) }
	text(8, 32, "")
	text(40, 32, isoName(o.Name))
	isoBoth32(p[80:], uint32((size+isoSector-1)/isoSector))
	isoBoth16(p[120:], 1) // volumes of the set
	isoBoth16(p[124:], 1) // this one
	isoBoth16(p[128:], isoSector)
	isoBoth32(p[132:], uint32(len(table)))
	le.PutUint32(p[140:], isoLittle)
	be.PutUint32(p[148:], isoBig)
	copy(p[156:190], root)
	text(190, 623, "") // names of the set, its makers, and files about them: none
	for _, at := range []int{813, 830} {
		copy(p[at:], made.Format("20060102150405")+"00\x00")
	}
	for _, at := range []int{847, 864} { // no end, and no beginning
		copy(p[at:], "0000000000000000\x00")
	}
	p[881] = 1

	copy(sector(isoFirst+1), "\x00CD001\x01EL TORITO SPECIFICATION")
	le.PutUint32(sector(isoFirst + 1)[71:], isoCatalog)
	copy(sector(isoFirst+2), "\xffCD001\x01")
	copy(sector(isoCatalog), isoCatalogOf(o))

	dir := slices.Concat(root, isoRecord("\x01", isoRoot, isoSector, true, made))
	copy(sector(isoRoot), append(dir, isoRecord(isoFile, o.EFI.Offset/isoSector, min(o.EFI.Size, 1<<32-isoSector), false,
		made)...))
	return b
}

// isoCatalogOf is the boot catalog: what is checked, and what is started: by a BIOS the first entry, by UEFI that, or
// the one in a section of its own.
func isoCatalogOf(o WriteOptions) []byte {
	b := make([]byte, 128)
	le := binary.LittleEndian
	b[0], b[1] = 1, 0xef // UEFI
	entry := b[32:64]
	efi := func(entry []byte) {
		entry[0] = 0x88 // it starts
		// No sectors: to the end of the medium. A number would be too small: it counts up to 32 MiB.
		le.PutUint32(entry[8:], uint32(o.EFI.Offset/isoSector))
	}
	efi(entry)
	if o.BIOS || o.Both {
		b[1] = 0
		entry[1], entry[4] = 4, 0xee // a hard disk, of the type that its protective MBR says
		le.PutUint16(entry[6:], 1)   // the MBR is loaded
		le.PutUint32(entry[8:], 0)   // and lies at the start of the medium
	}
	if o.Both {
		b[64], b[65], b[66] = 0x91, 0xef, 1 // the last section, for UEFI, of one entry
		efi(b[96:])
	}
	b[30], b[31] = 0x55, 0xaa
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += le.Uint16(b[i:])
	}
	le.PutUint16(b[28:], -sum)
	return b
}

// isoRecord is an entry of a directory.
func isoRecord(name string, sector, size int64, dir bool, made time.Time) []byte {
	b := make([]byte, (33+len(name)+1)/2*2)
	b[0] = byte(len(b))
	isoBoth32(b[2:], uint32(sector))
	isoBoth32(b[10:], uint32(size))
	copy(b[18:], []byte{byte(made.Year() - 1900), byte(made.Month()), byte(made.Day()), byte(made.Hour()),
		byte(made.Minute()), byte(made.Second())})
	if dir {
		b[25] = 2
	}
	isoBoth16(b[28:], 1)
	b[32] = byte(len(name))
	copy(b[33:], name)
	return b
}

func isoBoth16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func isoBoth32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

// isoName is what the volume is called, in the letters that a name may have.
func isoName(name string) string {
	up := func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			return c
		}
		return '_'
	}
	if name == "" {
		name = "disk"
	}
	name = strings.Map(up, name)
	return name[:min(len(name), 32)]
}
