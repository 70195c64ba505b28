package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// mbr is what sector 0 says (UEFI 5.2): four entries of 16 bytes at 446, then 55 aa.
type mbr struct {
	kind       mbrKind
	partitions int // of a DOS table
	sector     []byte
	err        error  // reading failed
	crooked    string // what is wrong with a protective one
}

type mbrKind int

const (
	mbrNone       mbrKind = iota // nothing that is a partition table
	mbrProtective                // says that a GPT rules, perhaps beside other entries (a hybrid)
	mbrDOS
)

const (
	mbrTable    = 446
	mbrEntry    = 16
	mbrMagic    = 510
	mbrGPT      = 0xee
	mbrCodeSize = 440 // boot code of the BIOS, which is kept
)

func readMBR(dev Device) mbr {
	m := mbr{sector: make([]byte, dev.SectorSize())}
	if m.err = readFull(dev, m.sector, 0); m.err != nil {
		m.sector = make([]byte, dev.SectorSize())
		return m
	}
	signed := m.sector[mbrMagic] == 0x55 && m.sector[mbrMagic+1] == 0xaa
	plausible, protects := signed, -1
	for i := range 4 {
		e := m.entry(i)
		first, length := binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		switch {
		case e[4] == mbrGPT && first == 1:
			m.kind, m.crooked = mbrProtective, ""
		case e[4] == mbrGPT && m.kind == mbrNone && e[0]&0x7f == 0:
			protects, m.crooked = i, fmt.Sprintf("it begins at sector %d and not at 1, so firmware looks for no partitions", first)
		case e[4] != 0:
			m.partitions++
			plausible = plausible && e[0]&0x7f == 0 && first > 0 && length > 0
		}
	}
	switch {
	case m.kind == mbrProtective && !signed:
		m.crooked = "it has no signature (55 aa), so systems and BIOSes look for no partitions"
	case m.kind == mbrProtective:
	case protects >= 0 && signed:
		m.kind = mbrProtective
	case m.partitions > 0 && plausible:
		m.kind = mbrDOS
	}
	return m
}

// entry is one of the four entries.
func (m mbr) entry(i int) []byte { return m.sector[mbrTable+i*mbrEntry:][:mbrEntry] }

// straight returns sector 0 with a protective MBR that was crooked put right, and nothing else changed.
func (m mbr) straight() []byte {
	c := mbr{sector: bytes.Clone(m.sector)}
	c.sector[mbrMagic], c.sector[mbrMagic+1] = 0x55, 0xaa
	for i := range 4 {
		if e := c.entry(i); e[4] == mbrGPT {
			binary.LittleEndian.PutUint32(e[8:], 1)
			break
		}
	}
	return c.sector
}

// protect returns sector 0 with a protective MBR for a disk, keeping the boot code that is there.
func (m mbr) protect(sectors int64, sectorSize int) []byte {
	b := make([]byte, sectorSize)
	copy(b, m.sector[:mbrCodeSize])
	e := b[mbrTable:]
	copy(e, []byte{0, 0x00, 0x02, 0x00, mbrGPT, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(e[8:], 1)
	binary.LittleEndian.PutUint32(e[12:], uint32(min(sectors-1, 0xffffffff)))
	b[mbrMagic], b[mbrMagic+1] = 0x55, 0xaa
	return b
}

// magics are marks by which other uses of a disk are known.
var magics = []struct {
	off  int64
	mark string
	name string
}{
	{0, "XFSB", "an XFS file system"},
	{0, "LUKS\xba\xbe", "a LUKS volume"},
	{0, "hsqs", "a squashfs file system"},
	{3, "NTFS    ", "an NTFS file system"},
	{3, "EXFAT   ", "an exFAT file system"},
	{54, "FAT12   ", "a FAT file system"},
	{54, "FAT16   ", "a FAT file system"},
	{82, "FAT32   ", "a FAT file system"},
	{512, "LABELONE", "an LVM physical volume"},
	{1024, "\xe2\xe1\xf5\xe0", "an EROFS file system"},
	{1024, "\x10\x20\xf5\xf2", "an F2FS file system"},
	{1080, "\x53\xef", "an ext2, ext3 or ext4 file system"},
	{4086, "SWAPSPACE2", "swap space"},
	{4096, "\xfc\x4e\x2b\xa9", "a Linux RAID member"},
	{32769, "CD001", "an ISO 9660 file system"},
	{65600, "_BHRfS_M", "a btrfs file system"},
}

// probe names what is found on a device that is not a partition table, or returns "".
func probe(dev Device) string {
	for _, m := range magics {
		b := make([]byte, len(m.mark))
		if m.off+int64(len(b)) <= dev.Size() && readFull(dev, b, m.off) == nil && bytes.Equal(b, []byte(m.mark)) {
			return m.name
		}
	}
	other := map[int]int{512: 4096, 4096: 512}[dev.SectorSize()]
	b := make([]byte, len(signature))
	if other > 0 && readFull(dev, b, int64(other)) == nil && string(b) == signature {
		return fmt.Sprintf("a GPT made for sectors of %d bytes, and this disk has %d", other, dev.SectorSize())
	}
	return ""
}
