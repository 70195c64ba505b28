package bootfs

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/pawl-os/pawl/partition/device"
)

// FormatOptions says how a volume is made. The zero value has no label, volume id 0 and the time of [time.Now].
type FormatOptions struct {
	Label    string    // at most 11 characters of ASCII; stored in upper case
	VolumeID uint32    // what systems show as the volume's serial number or UUID
	Time     time.Time // time stamp of the label
}

const (
	reservedSectors = 32
	minClusters     = 65525 // fewer make a FAT16 by the specification
	spareClusters   = 16    // it also says to keep away from that border
	maxCluster      = 32 << 10
)

// Format makes an empty FAT32 on the whole device. The second table and the data region start on a block of 4 KiB of
// the device. Clusters have up to 4 KiB as long as there are enough for a FAT32, and more above 8 GiB, like mkfs.fat's;
// the smallest volume is about 33 MiB with sectors of 512 bytes and 257 MiB with sectors of 4096.
//
//  1. zeros over both boot sectors; flush. From here on there is no file system, whatever was here before.
//  2. tables, root directory, FSInfo, copy of the boot sector; flush.
//  3. the boot sector; flush. A cut before leaves a device without a file system, one after an empty one.
func Format(dev device.Device, o FormatOptions) error {
	if err := format(dev, o); err != nil {
		return fmt.Errorf("format boot file system: %w", err)
	}
	return nil
}

func format(dev device.Device, o FormatOptions) error {
	label, err := formatLabel(o.Label)
	if err != nil {
		return err
	}
	g, err := planGeometry(dev.Size(), dev.SectorSize())
	if err != nil {
		return err
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	boot := g.bootSector(label, o.VolumeID)
	v, err := decodeVolume(boot, dev.Size(), dev.SectorSize())
	if err != nil {
		return err
	}
	f := &FS{dev: dev, vol: v}
	sector := int64(v.unit)
	put := func(off int64, p []byte) error {
		if _, err := dev.WriteAt(p, off); err != nil {
			return fmt.Errorf("write %d bytes at %d: %w", len(p), off, err)
		}
		return nil
	}
	// 1
	if err := put(0, make([]byte, v.fat[0])); err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return err
	}
	// 2
	table := make([]byte, 1<<20)
	for off := v.fat[0]; off < v.data; off += int64(len(table)) {
		if err := put(off, table[:min(int64(len(table)), v.data-off)]); err != nil {
			return err
		}
	}
	le := binary.LittleEndian
	le.PutUint32(table[0:], 0x0ffffff8) // the medium's type
	le.PutUint32(table[4:], 0x0fffffff) // clean, no errors
	le.PutUint32(table[8:], 0x0fffffff) // the root directory's end
	root := make([]byte, v.cluster)
	if strings.TrimSpace(label) != "" {
		e := entry{mod: o.Time}
		copy(e.short[:], label)
		copy(root, encodeShort(e))
		root[11] = attrLabel
	}
	info := infoSector(v.unit)
	for _, w := range []struct {
		off  int64
		data []byte
	}{
		{v.fat[1], table[:sector]}, {v.fat[0], table[:sector]}, {v.data, root},
		{7 * sector, info}, {1 * sector, info}, {6 * sector, boot},
	} {
		if err := put(w.off, w.data); err != nil {
			return err
		}
	}
	if err := f.flush(); err != nil {
		return err
	}
	// 3
	if err := put(0, boot); err != nil {
		return err
	}
	return f.flush()
}

// geometry is what the boot sector states, in sectors.
type geometry struct {
	sector, perCluster int
	total, perTable    int64
}

// planGeometry chooses the largest cluster of up to 4 KiB that leaves enough of them for a FAT32, and larger ones for
// volumes above 8 GiB.
func planGeometry(size int64, sector int) (geometry, error) {
	if sector != 512 && sector != 4096 {
		return geometry{}, fmt.Errorf("device has sectors of %d bytes, want 512 or 4096", sector)
	}
	total := size / int64(sector)
	if total > 1<<32-1 {
		return geometry{}, fmt.Errorf("%d sectors, FAT32 has at most %d", total, int64(1<<32-1))
	}
	cluster := 4096
	for large := int64(8 << 30); size > large && cluster < maxCluster; large *= 2 {
		cluster *= 2
	}
	for ; cluster >= sector; cluster /= 2 {
		g := geometry{sector: sector, perCluster: cluster / sector, total: total}
		clusters := g.fit()
		if clusters > maxClusters {
			return geometry{}, fmt.Errorf("%d clusters of %d bytes, at most %d are supported", clusters, cluster,
				maxClusters)
		}
		if clusters >= minClusters+spareClusters {
			return g, nil
		}
	}
	return geometry{}, fmt.Errorf("%d bytes are too few for a FAT32 with sectors of %d bytes, %d are needed: %w",
		size, sector, minSize(sector), ErrFull)
}

// fit sets the size of a table to whole blocks and returns the number of clusters.
func (g *geometry) fit() int64 {
	perBlock := int64(max(blockSize/g.sector, 1))
	for g.perTable = perBlock; ; g.perTable += perBlock {
		clusters := (g.total - reservedSectors - 2*g.perTable) / int64(g.perCluster)
		if clusters+2 <= g.perTable*int64(g.sector)/4 {
			return clusters
		}
	}
}

// minSize is the smallest size that planGeometry takes.
func minSize(sector int) int64 {
	clusters := int64(minClusters + spareClusters)
	table := (4*(clusters+2) + blockSize - 1) / blockSize * blockSize
	return reservedSectors*int64(sector) + 2*table + clusters*int64(sector)
}

func formatLabel(label string) (string, error) {
	for _, r := range label {
		if r < 0x20 || r >= 0x7f || strings.ContainsRune("\"*+,./:;<=>?[\\]|", r) {
			return "", fmt.Errorf("label %q: %q is not allowed", label, r)
		}
	}
	if len(label) > 11 {
		return "", fmt.Errorf("label %q is longer than 11 characters", label)
	}
	return fmt.Sprintf("%-11s", strings.ToUpper(label)), nil
}

func (g geometry) bootSector(label string, id uint32) []byte {
	b := make([]byte, g.sector)
	le := binary.LittleEndian
	copy(b, "\xeb\x58\x90MSWIN4.1") // some systems accept no other maker
	le.PutUint16(b[11:], uint16(g.sector))
	b[13] = byte(g.perCluster)
	le.PutUint16(b[14:], reservedSectors)
	b[16] = 2
	b[21] = 0xf8
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[32:], uint32(g.total))
	le.PutUint32(b[36:], uint32(g.perTable))
	le.PutUint32(b[44:], 2)
	le.PutUint16(b[48:], 1)
	le.PutUint16(b[50:], 6)
	b[64], b[66] = 0x80, 0x29
	le.PutUint32(b[67:], id)
	copy(b[71:], "NO NAME    ")
	if strings.TrimSpace(label) != "" {
		copy(b[71:], label)
	}
	copy(b[82:], "FAT32   ")
	copy(b[90:], "\xf4\xeb\xfd") // whoever starts it: halt
	b[510], b[511] = 0x55, 0xaa
	return b
}

// infoSector is an FSInfo that says "unknown", and so never becomes wrong.
func infoSector(size int) []byte {
	b := make([]byte, size)
	copy(b, "RRaA")
	copy(b[484:], "rrAa\xff\xff\xff\xff\xff\xff\xff\xff")
	b[510], b[511] = 0x55, 0xaa
	return b
}
