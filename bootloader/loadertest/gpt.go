package loadertest

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/pawl-os/pawl/partition/disktest"
)

// EditGPT changes the copy of a partition table whose header is in sector lba, as another program would leave it: edit
// gets the header's sector and the entries, and returns the entries that are written where the header then says. Both
// checksums are made right again.
func EditGPT(d *disktest.Disk, lba int64, edit func(header, entries []byte) []byte) error {
	sector, le := int64(d.SectorSize()), binary.LittleEndian
	header := make([]byte, sector)
	if _, err := d.ReadAt(header, lba*sector); err != nil {
		return err
	}
	entries := make([]byte, le.Uint32(header[80:])*le.Uint32(header[84:]))
	if _, err := d.ReadAt(entries, int64(le.Uint64(header[72:]))*sector); err != nil {
		return err
	}
	entries = edit(header, entries)
	le.PutUint32(header[88:], crc32.ChecksumIEEE(entries))
	clear(header[16:20])
	le.PutUint32(header[16:], crc32.ChecksumIEEE(header[:le.Uint32(header[12:])]))
	padded := slices.Concat(entries, make([]byte, (sector-int64(len(entries))%sector)%sector))
	if _, err := d.WriteAt(padded, int64(le.Uint64(header[72:]))*sector); err != nil {
		return err
	}
	if _, err := d.WriteAt(header, lba*sector); err != nil {
		return err
	}
	return d.Sync()
}
