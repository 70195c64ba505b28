package predict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/pawl-os/pawl/bootloader/efivar"
)

// Device is what the model reads: a whole disk.
type Device interface {
	io.ReaderAt
	Size() int64     // bytes
	SectorSize() int // 512 or 4096
}

// partition is one used entry of the table, as firmware sees it.
type partition struct {
	drive efivar.HardDrive
	typ   [16]byte // as on disk
	start int64    // bytes
	size  int64
}

// xbootldr is the type of an Extended Boot Loader partition as it lies on disk; systemd-boot looks for entries there too.
var xbootldr = [16]byte{0xff, 0xc2, 0x13, 0xbc, 0xe6, 0x59, 0x62, 0x42, 0xa3, 0x52, 0xb2, 0x75, 0xfd, 0x6f, 0x71, 0x72}

// readGPT reads the primary table, or the backup where the primary is damaged. Firmware also repairs the damaged one; the
// model writes nothing.
func readGPT(dev Device) ([]partition, error) {
	sector := int64(dev.SectorSize())
	last := dev.Size()/sector - 1
	parts, err := readTable(dev, sector, 1)
	if err == nil {
		return parts, nil
	}
	if parts, backup := readTable(dev, sector, last); backup == nil {
		return parts, nil
	}
	return nil, err
}

func readTable(dev Device, sector, lba int64) ([]partition, error) {
	header := make([]byte, sector)
	if _, err := dev.ReadAt(header, lba*sector); err != nil {
		return nil, fmt.Errorf("read partition table: %w", err)
	}
	size := binary.LittleEndian.Uint32(header[12:])
	if string(header[:8]) != "EFI PART" || size < 92 || int64(size) > sector {
		return nil, fmt.Errorf("no partition table at sector %d", lba)
	}
	sum := binary.LittleEndian.Uint32(header[16:])
	copy(header[16:20], make([]byte, 4))
	if crc32.ChecksumIEEE(header[:size]) != sum || int64(binary.LittleEndian.Uint64(header[24:])) != lba {
		return nil, fmt.Errorf("partition table at sector %d is damaged", lba)
	}
	count, width := int64(binary.LittleEndian.Uint32(header[80:])), int64(binary.LittleEndian.Uint32(header[84:]))
	if width < 128 || count > 1024 || width > 1024 {
		return nil, fmt.Errorf("partition table of %d entries of %d bytes", count, width)
	}
	entries := make([]byte, count*width)
	if _, err := dev.ReadAt(entries, int64(binary.LittleEndian.Uint64(header[72:]))*sector); err != nil {
		return nil, fmt.Errorf("read partition entries: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != binary.LittleEndian.Uint32(header[88:]) {
		return nil, fmt.Errorf("partition entries are damaged")
	}
	var parts []partition
	for i := range count {
		e := entries[i*width:]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			continue
		}
		first, end := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		p := partition{typ: [16]byte(e[:16]), start: int64(first) * sector, size: int64(end-first+1) * sector}
		p.drive = efivar.HardDrive{Number: uint32(i + 1), First: first, Sectors: end - first + 1, GUID: mixed(e[16:32])}
		if end < first || p.start+p.size > dev.Size() {
			continue
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// mixed turns the order of bytes that GUIDs have on disk into that of their text, and back.
func mixed(b []byte) efivar.GUID {
	return efivar.GUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}
