package partition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Read reads the table of a disk. One damaged copy is no error: the other is taken, and Problems says so. A disk that
// holds no table is ErrNoTable, something else ErrForeign, a table without a valid copy ErrDamaged; the messages say
// what was found. It writes nothing.
func Read(dev Device) (Layout, error) {
	d, err := look(dev)
	if err != nil {
		return Layout{}, fmt.Errorf("read partition table: %w", err)
	}
	return d.layout, nil
}

// disk is what a device holds.
type disk struct {
	layout          Layout
	mbr             mbr
	primary, backup tableCopy
}

// tableCopy is one of the two copies of a table as it was read.
type tableCopy struct {
	at      int64 // sector of the header
	sector  []byte
	header  header
	entries []byte
	parts   []Partition
	err     error // why the copy is not valid
}

func (c tableCopy) good() bool { return c.err == nil }

func look(dev Device) (disk, error) {
	sector := int64(dev.SectorSize())
	sectors := dev.Size() / sector
	if sectors < 8 {
		return disk{}, fmt.Errorf("%d bytes are too few for a partition table: %w", dev.Size(), ErrForeign)
	}
	d := disk{mbr: readMBR(dev), primary: readCopy(dev, 1)}
	backupAt := sectors - 1
	if d.primary.header.other > 1 && d.primary.header.other < sectors {
		backupAt = d.primary.header.other
	}
	d.backup = readCopy(dev, backupAt)
	if !d.backup.good() && backupAt != sectors-1 {
		if c := readCopy(dev, sectors-1); c.good() && !d.primary.good() {
			d.backup = c
		}
	}
	if d.mbr.kind == mbrDOS {
		return disk{}, fmt.Errorf("found a DOS (MBR) partition table with %d partitions: %w", d.mbr.partitions, ErrForeign)
	}
	if d.mbr.kind == mbrNone {
		// Without the mark that a GPT rules here, what lies at the start of the disk counts more than a table that may
		// have been left over.
		if found := probe(dev); found != "" {
			return disk{}, fmt.Errorf("found %s: %w", found, ErrForeign)
		}
	}
	if !d.primary.good() && !d.backup.good() {
		if d.mbr.kind == mbrNone {
			// Also where power failed while a first table was written: its protective MBR comes last.
			return d, ErrNoTable
		}
		if found := probe(dev); found != "" {
			return disk{}, fmt.Errorf("found %s: %w", found, ErrForeign)
		}
		return disk{}, fmt.Errorf("primary: %v; backup: %v: %w", d.primary.err, d.backup.err, ErrDamaged)
	}
	d.layout = d.merge(sectors, int(sector))
	return d, nil
}

var errNoSignature = errors.New("no signature")

// readCopy reads the header in sector at and the entries that it names.
func readCopy(dev Device, at int64) tableCopy {
	sector, sectors := int64(dev.SectorSize()), dev.Size()/int64(dev.SectorSize())
	c := tableCopy{at: at, sector: make([]byte, sector)}
	if c.err = readFull(dev, c.sector, at*sector); c.err != nil {
		c.sector = nil
		return c
	}
	if string(c.sector[:len(signature)]) != signature {
		c.err = errNoSignature
		return c
	}
	if c.header, c.err = decodeHeader(c.sector, at); c.err != nil {
		return c
	}
	length := int64(c.header.entries * c.header.entrySize)
	if c.header.entriesAt >= sectors {
		c.err = fmt.Errorf("entries at %d, disk of %d sectors", c.header.entriesAt, sectors)
		return c
	}
	end := c.header.entriesAt + (length+sector-1)/sector
	if end > sectors || c.header.lastUsable >= sectors ||
		c.header.entriesAt <= c.header.lastUsable && end > c.header.firstUsable {
		c.err = fmt.Errorf("usable sectors %d to %d, entries in %d to %d, disk of %d",
			c.header.firstUsable, c.header.lastUsable, c.header.entriesAt, end-1, sectors)
		return c
	}
	c.entries = make([]byte, length)
	if c.err = readFull(dev, c.entries, c.header.entriesAt*sector); c.err != nil {
		c.entries = nil
		return c
	}
	if crc32.ChecksumIEEE(c.entries) != c.header.entriesCRC {
		c.err = errors.New("checksum of the entries does not match")
		return c
	}
	c.parts, c.err = decodeEntries(c.entries, c.header.entrySize)
	return c
}

// merge makes the layout of the copy that counts, and lists what is wrong.
func (d disk) merge(sectors int64, sectorSize int) Layout {
	c, entriesAt, backupAt := d.primary, d.primary.header.entriesAt, d.backup.at
	if !c.good() {
		c = d.backup
		if entriesAt == 0 { // the header is lost too
			entriesAt = 2
		}
	}
	l := Layout{
		GUID: c.header.guid, SectorSize: sectorSize, Sectors: sectors,
		FirstUsable: c.header.firstUsable, LastUsable: c.header.lastUsable,
		Entries: c.header.entries, Partitions: c.parts,
		entrySize: c.header.entrySize, entriesAt: entriesAt, backupAt: backupAt, extra: c.header.extra,
	}
	note := func(format string, args ...any) { l.Problems = append(l.Problems, fmt.Sprintf(format, args...)) }
	switch {
	case !d.primary.good():
		note("the primary copy is damaged (%v); the table was recovered from the backup copy", d.primary.err)
	case !d.backup.good():
		note("the backup copy is damaged (%v)", d.backup.err)
	case d.backup.at != sectors-1:
		note("the backup copy is in sector %d and not in the last one, %d: the disk grew", d.backup.at, sectors-1)
	case !sameTable(d.primary, d.backup):
		note("the copies differ; the primary one counts")
	}
	switch {
	case d.mbr.err != nil:
		note("the protective MBR cannot be read (%v)", d.mbr.err)
	case d.mbr.kind == mbrNone:
		note("the protective MBR is missing")
	}
	if err := l.check(); err != nil {
		note("%v", err)
	}
	return l
}

func sameTable(a, b tableCopy) bool {
	return bytes.Equal(a.entries, b.entries) && a.header.guid == b.header.guid &&
		a.header.firstUsable == b.header.firstUsable && a.header.lastUsable == b.header.lastUsable &&
		a.header.other == b.header.self && b.header.other == a.header.self &&
		a.header.entrySize == b.header.entrySize && a.header.extra == b.header.extra
}

// readFull fills b, or says why not.
func readFull(dev Device, b []byte, off int64) error {
	n, err := dev.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
