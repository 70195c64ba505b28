package predict

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition/device"
)

// partition is one used entry of the table, as firmware sees it.
type partition struct {
	drive efivar.HardDrive
	typ   [16]byte // as on disk
	start int64    // bytes
	size  int64
}

// xbootldr is the type of an Extended Boot Loader partition as it lies on disk; systemd-boot looks for entries there
// too.
var xbootldr = [16]byte{0xff, 0xc2, 0x13, 0xbc, 0xe6, 0x59, 0x62, 0x42, 0xa3, 0x52, 0xb2, 0x75, 0xfd, 0x6f, 0x71, 0x72}

// gptType marks the entry of a protective MBR.
const gptType = 0xee

// readGPT reads the partitions that firmware offers, by the rules of EDK II (MdeModulePkg, PartitionDxe): none without
// a protective MBR; the primary table, or the backup in the last sector where the primary is not valid; no entry that
// leaves the usable sectors or overlaps another. Firmware also writes a copy anew that is not valid; the model does
// not, and does not know what happens where that would write anywhere but to a table's own place.
func readGPT(dev device.Reader) ([]partition, error) {
	t, err := firmwareTable(dev)
	switch {
	case errors.Is(err, ErrNotModelled):
		return nil, err
	case err != nil:
		if what := otherwise(dev); what != "" {
			return nil, fmt.Errorf("%w, and there is %s: %w", err, what, ErrNotModelled)
		}
		return nil, err
	}
	return t.offered(), nil
}

func firmwareTable(dev device.Reader) (gptTable, error) {
	sector := int64(dev.SectorSize())
	last := uint64(dev.Size()/sector - 1)
	first := make([]byte, sector)
	if _, err := dev.ReadAt(first, 0); err != nil {
		return gptTable{}, fmt.Errorf("the first sector, with the protective MBR, cannot be read: %w", err)
	}
	// Its signature, 55 aa, is not asked for.
	protective := false
	for e := range mbrEntries(first) {
		protective = protective || e[4] == gptType && binary.LittleEndian.Uint32(e[8:]) == 1
	}
	if !protective {
		return gptTable{}, errors.New("there is no protective MBR that begins at sector 1, without which firmware " +
			"looks for no partitions")
	}
	primary, err := readTable(dev, 1)
	if err == nil {
		if at := primary.other; at != 1 && at <= primary.lastUsable {
			if _, err := readTable(dev, at); err != nil {
				return gptTable{}, fmt.Errorf("firmware would write a backup copy of the partition table into sector "+
					"%d: %w", at, ErrNotModelled)
			}
		}
		return primary, nil
	}
	backup, backupErr := readTable(dev, last)
	switch {
	case errors.Is(err, ErrNotModelled):
		return gptTable{}, err
	case backupErr != nil:
		return gptTable{}, err
	case backup.other > last:
		return gptTable{}, fmt.Errorf("%w, and the backup copy belongs to one in sector %d, beyond the disk", err,
			backup.other)
	case backup.other != 1:
		return gptTable{}, fmt.Errorf("%w, and firmware would write it into sector %d: %w", err, backup.other,
			ErrNotModelled)
	}
	end := 2 + uint64(int64(len(backup.entries))+sector-1)/uint64(sector)
	for _, p := range backup.offered() {
		if p.drive.First < end {
			return gptTable{}, fmt.Errorf("%w, and firmware would write it into partition %d: %w", err, p.drive.Number,
				ErrNotModelled)
		}
	}
	return backup, nil
}

// mbrEntries are the four entries of sector 0.
func mbrEntries(first []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := range 4 {
			if !yield(first[446+16*i:][:16]) {
				return
			}
		}
	}
}

// otherwise names what firmware may find on a disk where it finds no GPT, and the model does not follow: the firmware
// looks for the file system of an optical disc, for partitions of an MBR, and for a file system on the whole disk.
func otherwise(dev device.Reader) string {
	b := make([]byte, 5)
	if _, err := dev.ReadAt(b, 32769); err == nil && (string(b) == "CD001" || string(b) == "BEA01") {
		return "the file system of an optical disc"
	}
	whole := partition{size: dev.Size()}
	if _, err := openVolume(dev, whole, true); err == nil {
		return "a FAT file system on the whole disk"
	}
	first := make([]byte, dev.SectorSize())
	if _, err := dev.ReadAt(first, 0); err != nil || first[510] != 0x55 || first[511] != 0xaa {
		return ""
	}
	for e := range mbrEntries(first) {
		start, length := int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		p := partition{start: start * int64(dev.SectorSize()), size: length * int64(dev.SectorSize())}
		if e[4] == 0 || e[4] == gptType || length == 0 {
			continue
		}
		if _, err := openVolume(dev, p, true); err == nil {
			return "a FAT file system in a partition of the MBR"
		}
	}
	return ""
}

// readGRUB reads the partitions that GRUB finds by itself, by the rules of its part_gpt: by the signature of sector 0,
// an entry of a protective MBR wherever that begins, the mark of the primary header, and the entries that this names.
// It looks at no checksum, at no bounds, and not at the backup copy.
func readGRUB(dev device.Reader) ([]partition, error) {
	first, le := make([]byte, 512), binary.LittleEndian
	if _, err := dev.ReadAt(first, 0); err != nil || first[510] != 0x55 || first[511] != 0xaa {
		return nil, errors.Join(errors.New("sector 0 has no signature"), err)
	}
	protective := false
	for e := range mbrEntries(first) {
		protective = protective || e[4] == gptType
	}
	if !protective {
		return nil, errors.New("there is no protective MBR")
	}
	for t := (gptTable{sector: 512}); t.sector <= 4096; t.sector *= 2 {
		header := make([]byte, 512)
		if _, err := dev.ReadAt(header, t.sector); err != nil || string(header[:8]) != "EFI PART" {
			continue
		}
		at, count := le.Uint64(header[72:]), int64(le.Uint32(header[80:]))
		t.width = int64(le.Uint32(header[84:]))
		if t.width < 128 || count > maxEntries/t.width || at > uint64(dev.Size()/t.sector) {
			return nil, fmt.Errorf("a partition table of %d entries of %d bytes in sector %d: %w", count, t.width, at,
				ErrNotModelled)
		}
		t.entries = make([]byte, count*t.width)
		if _, err := dev.ReadAt(t.entries, int64(at)*t.sector); err != nil {
			return nil, fmt.Errorf("the partition table's entries cannot be read: %w", err)
		}
		var parts []partition
		for _, e := range t.used() {
			if e.first <= e.last && e.last < farAway {
				parts = append(parts, t.partition(e))
			}
		}
		return parts, nil
	}
	return nil, errors.New("there is no primary partition table, and GRUB looks at no other")
}

// mixed turns the order of bytes that GUIDs have on disk into that of their text, and back.
func mixed(b []byte) efivar.GUID {
	return efivar.GUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]}
}

func (t gptTable) partition(e gptEntry) partition {
	return partition{
		drive: efivar.HardDrive{Number: uint32(e.number), First: e.first, Sectors: e.last - e.first + 1,
			GUID: mixed(e.raw[16:32])},
		typ: [16]byte(e.raw[:16]), start: int64(e.first) * t.sector, size: int64(e.last-e.first+1) * t.sector,
	}
}

// farAway is beyond any disk, and keeps offsets in bytes within 63 bits.
const farAway = 1 << 50
