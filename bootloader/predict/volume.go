package predict

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/pawl-os/pawl/partition/device"
)

// The FAT driver of EDK II (and so OVMF) reads through two caches: the table in pages of 32 KiB, counted from the first
// table's start, and the data region in pages of 64 KiB, counted from its start. Whole pages in the middle of a file
// are read straight from the disk. One unreadable sector makes its whole page unreadable. Tried on OVMF with injected
// read errors, at both edges of a page.
const (
	tablePage = 32 << 10
	dataPage  = 64 << 10
)

// On a FAT12 both have 8 KiB.
const smallPage = 8 << 10

var (
	errCorrupt = errors.New("volume is corrupt")
	errNoFAT   = errors.New("no FAT file system")
)

// volume is a FAT volume as the firmware's driver sees it: by the first table alone.
type volume struct {
	dev                 device.Reader
	part                partition
	bits                int   // of an entry of the table: 12, 16 or 32
	single              bool  // a FAT32 of whose tables one is in use
	table               int64 // bytes from the device's start
	tableLen            int64
	base                int64 // where the root directory of a FAT12 or FAT16 is, and on a FAT32 cluster 2
	rootLen             int64 // of that directory, bytes
	data                int64 // where cluster 2 is
	limit               int64 // the volume's end
	cluster             int64 // bytes
	end                 uint32
	root                uint32
	tablePage, dataPage int64
	exact               bool             // read what is needed and no more
	pages               map[int64][]byte // by offset on the device; nil for one that cannot be read
}

// Which FAT it is follows from the number of its clusters; on a FAT32 the driver holds that against what the boot
// sector says.
const (
	fat12Clusters = 0xff5  // as many or more are no FAT12
	fat16Clusters = 0xfff5 // as many or more are a FAT32
)

// openVolume fails where the driver of EDK II (FatPkg, FatOpenDevice) would not offer a file system.
func openVolume(dev device.Reader, p partition, exact bool) (*volume, error) {
	v, err := readVolume(dev, p, exact)
	if err != nil {
		return nil, err
	}
	clusters := int64(v.end) - 2
	if v.single {
		return nil, fmt.Errorf("a FAT32 whose tables are not mirrored, which firmware refuses: %w", errCorrupt)
	}
	if v.bits == 32 && clusters < fat16Clusters {
		return nil, fmt.Errorf("a FAT32 of %d clusters, and with fewer than %d firmware does not take it for one: %w",
			clusters, fat16Clusters, errCorrupt)
	}
	// The driver reads the dirty flag when it opens a volume, and does so past its cache: seen, with another sector of
	// the first page unreadable the volume is there.
	if v.bits != 12 {
		if _, err := dev.ReadAt(make([]byte, dev.SectorSize()), v.table); err != nil {
			return nil, fmt.Errorf("read the dirty flag: %w", err)
		}
	}
	return v, nil
}

// readVolume reads the boot sector.
func readVolume(dev device.Reader, p partition, exact bool) (*volume, error) {
	b := make([]byte, 512)
	if _, err := dev.ReadAt(b, p.start); err != nil {
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, spc := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, tables, rootEntries := int64(le.Uint16(b[14:])), int64(b[16]), int64(le.Uint16(b[17:]))
	sectors, perTable := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	v := &volume{
		dev: dev, part: p, exact: exact, cluster: sector * spc, pages: map[int64][]byte{}, bits: 16,
		tablePage: tablePage, dataPage: dataPage,
	}
	if perTable == 0 {
		v.bits, v.root, rootEntries, perTable = 32, le.Uint32(b[44:]), 0, int64(le.Uint32(b[36:]))
		v.single = b[40]&0x80 != 0
	}
	media := b[21]
	switch {
	case sector < 512 || sector > 4096 || bits.OnesCount64(uint64(sector)) != 1, bits.OnesCount64(uint64(spc)) != 1,
		reserved == 0, tables == 0, sectors == 0, media < 0xf8 && media != 0xf0 && media > 1, v.bits == 16 &&
			rootEntries == 0, perTable == 0:
		return nil, errNoFAT
	case v.bits == 32 && le.Uint16(b[42:]) != 0:
		return nil, fmt.Errorf("a FAT32 of version %d.%d, want 0.0: %w", b[43], b[42], errCorrupt)
	}
	v.rootLen = (rootEntries*32 + sector - 1) / sector * sector
	v.table = p.start + reserved*sector
	v.tableLen = perTable * sector
	v.base = v.table + tables*v.tableLen
	v.data = v.base + v.rootLen
	v.limit = p.start + sectors*sector
	if v.data >= v.limit {
		return nil, fmt.Errorf("a FAT file system without room for files: %w", errCorrupt)
	}
	clusters := (v.limit - v.data) / v.cluster
	switch {
	case v.bits == 16 && clusters >= fat16Clusters:
		return nil, fmt.Errorf("a FAT16 of %d clusters: %w", clusters, errCorrupt)
	case v.bits == 16 && clusters < fat12Clusters:
		v.bits, v.tablePage, v.dataPage = 12, smallPage, smallPage
	}
	v.end = uint32(clusters) + 2
	return v, nil
}

// read reads from the device, and never beyond the volume or its partition.
func (v *volume) read(b []byte, off int64) error {
	if end := off + int64(len(b)); off < v.part.start || end > v.limit || end > v.part.start+v.part.size {
		return fmt.Errorf("read %d bytes at %d, beyond the file system or its partition: %w", len(b), off, errCorrupt)
	}
	if _, err := v.dev.ReadAt(b, off); err != nil {
		return fmt.Errorf("read at %d: %w", off, err)
	}
	return nil
}
