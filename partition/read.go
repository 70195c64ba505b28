package partition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
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
	entriesAt       int64 // sector of the primary copy's entries, or where they are to be
}

// tableCopy is one of the two copies of a table as it was read.
type tableCopy struct {
	at      int64 // sector of the header
	sector  []byte
	header  header
	entries []byte
	parts   []Partition
	bad     []badEntry
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
		if c := readCopy(dev, sectors-1); c.good() {
			d.backup = c
		}
	}
	if d.mbr.kind == mbrDOS {
		return disk{}, fmt.Errorf("found a DOS (MBR) partition table with %d partitions: %w", d.mbr.partitions,
			ErrForeign)
	}
	whole := d.primary.good() || d.backup.good()
	if d.mbr.kind == mbrNone || !whole {
		// Without the mark that a GPT rules here, what lies at the start of the disk counts more than a table that may
		// have been left over.
		found, err := probe(dev, whole)
		switch {
		case found != "":
			return disk{}, fmt.Errorf("found %s: %w", found, ErrForeign)
		case err != nil && !whole:
			return disk{}, fmt.Errorf("look for what is on it, and what cannot be read may hold something: %w: %w", err,
				ErrForeign)
		}
	}
	if !whole {
		if d.mbr.kind == mbrNone && d.mbr.err == nil {
			// Also where power failed while a first table was written: its protective MBR comes last.
			return d, ErrNoTable
		}
		return disk{}, fmt.Errorf("primary: %v; backup: %v: %w", d.primary.err, d.backup.err, ErrDamaged)
	}
	d.entriesAt = d.primary.header.entriesAt
	if d.entriesAt == 0 {
		d.entriesAt = lostEntries(dev, d.backup)
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
	if end := c.header.entriesAt + (length+sector-1)/sector; end > sectors {
		c.err = fmt.Errorf("entries in %d to %d, disk of %d sectors", c.header.entriesAt, end-1, sectors)
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
	c.parts, c.bad = decodeEntries(c.entries, c.header.entrySize)
	return c
}

// lostEntries is where the primary copy's entries are, or are best put, when its header is lost and the backup copy
// tells what they are. Tables are moved where something else has sectors 2 to 33, such as the boot code of a small
// board: so first where they still are, then where nothing is.
func lostEntries(dev Device, backup tableCopy) int64 {
	sector := int64(dev.SectorSize())
	length := (int64(len(backup.entries)) + sector - 1) / sector
	before := make([]byte, min(backup.header.firstUsable*sector, maxTable+align))
	if length == 0 || readFull(dev, before, 0) != nil {
		return 2
	}
	last := int64(len(before))/sector - length
	for at := int64(2); at <= last; at++ {
		if bytes.Equal(before[at*sector:][:len(backup.entries)], backup.entries) {
			return at
		}
	}
	free := func(at int64) bool {
		return !slices.ContainsFunc(before[at*sector:][:length*sector], func(b byte) bool { return b != 0 })
	}
	if last >= 2+length && !free(2) && free(last) {
		return last
	}
	return 2
}

// merge makes the layout of the copy that counts, and lists what is wrong.
func (d disk) merge(sectors int64, sectorSize int) Layout {
	c := d.primary
	if !c.good() {
		c = d.backup
	}
	l := Layout{
		GUID: c.header.guid, SectorSize: sectorSize, Sectors: sectors,
		FirstUsable: c.header.firstUsable, LastUsable: c.header.lastUsable,
		Entries: c.header.entries, Partitions: c.parts, bad: c.bad,
		entrySize: c.header.entrySize, entriesAt: d.entriesAt, backupAt: d.backup.at, extra: c.header.extra,
	}
	shares := d.primary.good() && d.backup.good() && d.backup.header.entriesAt < d.entriesAt+l.tableSectors()
	if at := d.backup.header.entriesAt; d.backup.good() && d.backup.at == sectors-1 && at > l.LastUsable && !shares &&
		at != sectors-1-l.tableSectors() {
		l.backupEntries = at
	}
	note := func(format string, args ...any) { l.Problems = append(l.Problems, fmt.Sprintf(format, args...)) }
	switch {
	case !d.primary.good():
		note("the primary copy is damaged (%v); the table was recovered from the backup copy", d.primary.err)
	case l.LastUsable >= sectors || !d.backup.good() && d.primary.header.other >= sectors:
		note("the primary copy is whole, but it is of a disk of %d sectors and this one has %d: the backup copy "+
			"would lie beyond its end",
			max(d.primary.header.other, l.LastUsable)+1, sectors)
	case !d.backup.good():
		note("the backup copy is damaged (%v)", d.backup.err)
	case d.backup.at != sectors-1:
		note("the backup copy is in sector %d and not in the last one, %d: the disk grew", d.backup.at, sectors-1)
	case shares:
		note("the backup copy has no entries of its own: its header names those of the primary copy, in sector %d",
			d.backup.header.entriesAt)
	case !sameTable(d.primary, d.backup):
		note("the copies differ; the primary one counts")
	}
	switch {
	case d.mbr.err != nil:
		note("the protective MBR cannot be read (%v)", d.mbr.err)
	case d.mbr.kind == mbrNone:
		note("the protective MBR is missing")
	case d.mbr.crooked != "":
		note("the protective MBR is wrong: %s", d.mbr.crooked)
	}
	if end := l.entriesAt + l.tableSectors(); l.entriesAt <= l.LastUsable && end > l.FirstUsable {
		note("usable sectors %d to %d, and the table has its own entries in %d to %d", l.FirstUsable, l.LastUsable,
			l.entriesAt, end-1)
	}
	for _, e := range l.bad {
		note("entry %d is no partition (sectors %d to %d); it is kept as it is, and passed over", e.number, e.first,
			e.last)
	}
	l.Problems = append(l.Problems, l.faults()...)
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
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
