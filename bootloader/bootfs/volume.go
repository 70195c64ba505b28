package bootfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/pawl-os/pawl/partition/device"
)

// blockSize is what a device may destroy as a whole when power fails while it writes a part of it.
const blockSize = 4096

// maxClusters bounds the memory that an opened volume takes: five bytes a cluster.
const maxClusters = 4 << 20

// volume is the geometry that the boot sector states; offsets and sizes are bytes from the start of the device.
//
//	boot sector   offset 11 bytes per sector (2), 13 sectors per cluster (1), 14 reserved sectors (2), 16 tables (1),
//	              17 root entries (2, 0), 19 sectors (2), 22 sectors per table (2, 0), 32 sectors (4),
//	              36 sectors per table (4), 40 flags (2), 42 version (2), 44 root cluster (4), 48 FSInfo (2),
//	              50 copy of the boot sector (2), 64 drive, 65 dirty, 66 0x29, 67 volume id (4), 71 label (11),
//	              82 "FAT32   ", 510 55 aa
type volume struct {
	unit     int // bytes that the device writes whole: its sector
	cluster  int // bytes
	tables   int // 1 or 2
	fat      [2]int64
	fatBytes int64
	data     int64  // where cluster 2 starts
	end      uint32 // the last cluster + 1
	root     uint32
	size     int64
}

func readVolume(dev device.Device) (volume, error) {
	b := make([]byte, 512)
	if err := readFull(dev, 0, b); err != nil {
		return volume{}, fmt.Errorf("boot sector: %w", err)
	}
	return decodeVolume(b, dev.Size(), dev.SectorSize())
}

// decodeVolume checks everything that later code relies on, so that no offset it computes leaves the device.
func decodeVolume(b []byte, deviceSize int64, unit int) (volume, error) {
	le := binary.LittleEndian
	bad := func(format string, a ...any) (volume, error) {
		return volume{}, fmt.Errorf("boot sector: "+format+": %w", append(a, ErrDamaged)...)
	}
	if unit != 512 && unit != 4096 {
		return volume{}, fmt.Errorf("device has sectors of %d bytes, want 512 or 4096", unit)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return bad("no signature, the partition was not formatted")
	}
	sector, perCluster := int(le.Uint16(b[11:])), int(b[13])
	reserved, tables := int64(le.Uint16(b[14:])), int(b[16])
	switch {
	case sector < 512 || sector > 4096 || bits.OnesCount(uint(sector)) != 1:
		return bad("sectors of %d bytes", sector)
	case sector < unit:
		return bad("sectors of %d bytes on a device whose sectors have %d", sector, unit)
	case bits.OnesCount(uint(perCluster)) != 1 || sector*perCluster > 256<<10:
		return bad("%d sectors per cluster", perCluster)
	case reserved == 0:
		return bad("no reserved sectors")
	case tables != 1 && tables != 2:
		return bad("%d tables", tables)
	case le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0:
		return bad("FAT12 or FAT16, want FAT32")
	case le.Uint16(b[40:])&0x80 != 0:
		return bad("mirroring of the tables is switched off")
	case le.Uint16(b[42:]) != 0:
		return bad("FAT32 version %d.%d, want 0.0", b[43], b[42])
	}
	total := int64(le.Uint32(b[32:]))
	if total == 0 {
		total = int64(le.Uint16(b[19:]))
	}
	v := volume{
		unit:     unit,
		cluster:  sector * perCluster,
		tables:   tables,
		fatBytes: int64(le.Uint32(b[36:])) * int64(sector),
		root:     le.Uint32(b[44:]),
		size:     total * int64(sector),
	}
	v.fat[0] = reserved * int64(sector)
	v.fat[1] = v.fat[0] + v.fatBytes*int64(tables-1) // the same table twice if there is only one
	v.data = v.fat[1] + v.fatBytes
	if v.size > deviceSize {
		return bad("a volume of %d bytes on a device of %d", v.size, deviceSize)
	}
	if v.fatBytes == 0 || v.data > v.size {
		return bad("tables of %d bytes leave no room in %d", v.fatBytes, v.size)
	}
	// Some formatters state more clusters than their tables hold; like the kernel, use what both have.
	clusters := min((v.size-v.data)/int64(v.cluster), v.fatBytes/4-2)
	if clusters < 1 {
		return bad("no clusters")
	}
	if clusters > maxClusters {
		return volume{}, fmt.Errorf("%d clusters, at most %d are supported: format it with larger clusters", clusters,
			maxClusters)
	}
	v.end = uint32(clusters) + 2
	if !v.valid(v.root) {
		return bad("root directory at cluster %d of %d", v.root, clusters)
	}
	return v, nil
}

// valid reports whether c is the number of a cluster.
func (v *volume) valid(c uint32) bool { return c >= 2 && c < v.end }

// offset is where cluster c starts.
func (v *volume) offset(c uint32) int64 { return v.data + int64(c-2)*int64(v.cluster) }

// clustersFor is how many clusters n bytes take.
func (v *volume) clustersFor(n int64) int64 {
	return (n + int64(v.cluster) - 1) / int64(v.cluster)
}

// tableBlock is the block of the device that holds the entry of cluster c in a copy of the table.
func (v *volume) tableBlock(copy int, c uint32) int64 { return (v.fat[copy] + 4*int64(c)) / blockSize }

// dataBlocks are the first and the last block of the device that cluster c touches. Those between them are its own.
func (v *volume) dataBlocks(c uint32) (first, last int64) {
	off := v.offset(c)
	return off / blockSize, (off + int64(v.cluster) - 1) / blockSize
}
