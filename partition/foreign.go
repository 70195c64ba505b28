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
			protects, m.crooked = i, fmt.Sprintf("it begins at sector %d and not at 1, so firmware looks for no "+
				"partitions", first)
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
