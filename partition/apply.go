package partition

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/partition/device"
)

// Apply writes a layout to a disk, reads it back, and tells the kernel when dev is a real disk. What is there already
// as it should be is not written again. It refuses a layout that lacks a partition of the disk, or moves or shrinks
// one, and a disk that holds something else than a GPT; nothing was changed then.
//
// Steps, each flushed before the next, and the table that counts after a power cut in each gap:
//  1. the backup copy, entries and header: the primary copy, old
//  2. the primary copy, and, only where there is none, the protective MBR: the backup copy, new
//
// When only the backup copy is valid at the start, the primary copy comes first, so that the only valid copy is never
// written. On an empty disk the old table is no table; other programs and firmware take the disk for empty until the
// protective MBR is there. A sound one is never written again, not even after the disk grew: it has no second copy, and
// its length is read by nobody who could boot. Within a copy no order is needed: its checksums tell.
//
// Sector 1 has the primary header, and on a disk of 512-byte sectors whose blocks have 4096 bytes it shares its block
// with the protective MBR. A cut that destroys that very block, not one that leaves it old or new, leaves nothing that
// firmware finds; so the primary copy is written only where it has to change.
func Apply(dev Device, l Layout) error {
	if err := apply(dev, l); err != nil {
		return fmt.Errorf("apply partition table: %w", err)
	}
	return nil
}

func apply(dev Device, l Layout) error {
	d, err := look(dev)
	if err != nil && !errors.Is(err, ErrNoTable) {
		return err
	}
	if err := l.fits(dev, d.layout); err != nil {
		return err
	}
	if err := l.keeps(d.layout); err != nil {
		return err
	}
	primary, backup, entries, err := l.encode()
	if err != nil {
		return err
	}
	copies := []change{{"backup", d.backup, backup}, {"primary", d.primary, primary}}
	if !d.primary.good() && d.backup.good() {
		copies[0], copies[1] = copies[1], copies[0]
	}
	for _, c := range copies {
		dirty, err := c.write(dev, entries)
		if err != nil {
			return err
		}
		if c.header.self == 1 && (d.mbr.kind == mbrNone || d.mbr.crooked != "") {
			first := d.mbr.protect(l.Sectors, l.SectorSize)
			if d.mbr.kind == mbrProtective {
				first = d.mbr.straight()
			}
			if _, err := dev.WriteAt(first, 0); err != nil {
				return fmt.Errorf("write protective MBR: %w", err)
			}
			dirty = true
		}
		if !dirty {
			continue
		}
		if err := dev.Sync(); err != nil {
			return fmt.Errorf("write %s copy: flush: %w", c.name, err)
		}
	}
	if err := Verify(dev, l); err != nil {
		return err
	}
	if k, ok := dev.(interface{ tellKernel(Layout) error }); ok {
		return k.tellKernel(l)
	}
	return nil
}

// change is one copy as it was and as it is to be.
type change struct {
	name   string
	was    tableCopy
	header header
}

// write writes of a copy what is not there already. dirty says that there was something.
func (c change) write(dev Device, entries []byte) (dirty bool, err error) {
	sector := int64(dev.SectorSize())
	there := make([]byte, len(entries))
	if err := readFull(dev, there, c.header.entriesAt*sector); err != nil || !bytes.Equal(there, entries) {
		whole := append(bytes.Clone(entries), make([]byte, (sector-int64(len(entries))%sector)%sector)...)
		if _, err := dev.WriteAt(whole, c.header.entriesAt*sector); err != nil {
			return true, fmt.Errorf("write entries of the %s copy: %w", c.name, err)
		}
		dirty = true
	}
	if c.was.at != c.header.self || !c.was.good() || c.was.header != c.header {
		if _, err := dev.WriteAt(c.header.encode(int(sector)), c.header.self*sector); err != nil {
			return true, fmt.Errorf("write header of the %s copy: %w", c.name, err)
		}
		dirty = true
	}
	return dirty, nil
}

// fits refuses a layout that this disk cannot hold. What was wrong with the table that is there is no reason.
func (l Layout) fits(dev Device, current Layout) error {
	if l.SectorSize != dev.SectorSize() || l.Sectors != dev.Size()/int64(dev.SectorSize()) {
		return fmt.Errorf("the layout is for %d sectors of %d bytes, and the disk has %d of %d; plan it for this disk",
			l.Sectors, l.SectorSize, dev.Size()/int64(dev.SectorSize()), dev.SectorSize())
	}
	if l.GUID == uuid.Nil {
		return errors.New("the disk has no GUID")
	}
	if l.entriesAt < 2 || l.entrySize < entrySize || l.entriesAt <= l.LastUsable &&
		l.entriesAt+l.tableSectors() > l.FirstUsable {
		return fmt.Errorf("the entries in sectors %d to %d do not fit before the first usable sector %d", l.entriesAt,
			l.entriesAt+l.tableSectors()-1, l.FirstUsable)
	}
	if l.LastUsable > l.Sectors-2-l.tableSectors() {
		return fmt.Errorf("the backup copy does not fit after the last usable sector %d", l.LastUsable)
	}
	guids := map[uuid.UUID]Partition{}
	for _, p := range l.Partitions {
		if other, twice := guids[p.GUID]; p.raw == "" && (p.GUID == uuid.Nil || p.Type == uuid.Nil || twice) {
			return fmt.Errorf("%v has GUID %s and type %s, want both, and a GUID that is not the one of %v", p, p.GUID,
				p.Type, other)
		}
		guids[p.GUID] = p
	}
	was := current.faults()
	for _, fault := range l.faults() {
		if !slices.Contains(was, fault) {
			return errors.New(fault)
		}
	}
	return nil
}

// keeps refuses a layout that lacks, moves or shrinks a partition of the table that is there.
func (l Layout) keeps(current Layout) error {
	for _, old := range current.Partitions {
		kept := false
		for _, p := range l.Partitions {
			kept = kept || p.Number == old.Number && p.GUID == old.GUID && p.First == old.First &&
				p.Sectors >= old.Sectors
		}
		if !kept {
			return fmt.Errorf("%v in sectors %d to %d is on the disk and the layout does not keep it as it is; plan "+
				"from the table that is there, or wipe the disk: %w",
				old, old.First, old.Last(), ErrForeign)
		}
	}
	if !slices.Equal(current.bad, l.bad) {
		return fmt.Errorf("%d entries that are no partitions are on the disk and the layout does not keep them; plan "+
			"from the table that is there, or wipe the disk: %w", len(current.bad), ErrForeign)
	}
	return nil
}

// encode returns the headers of both copies and their entries.
func (l Layout) encode() (primary, backup header, entries []byte, err error) {
	if entries, err = l.encodeEntries(); err != nil {
		return header{}, header{}, nil, err
	}
	primary = header{
		self: 1, other: l.Sectors - 1, firstUsable: l.FirstUsable, lastUsable: l.LastUsable, guid: l.GUID,
		entriesAt: l.entriesAt, entries: l.Entries, entrySize: l.entrySize, entriesCRC: crc32.ChecksumIEEE(entries),
		extra: l.extra,
	}
	backup = primary
	backup.self, backup.other = primary.other, primary.self
	backup.entriesAt = cmp.Or(l.backupEntries, l.Sectors-1-l.tableSectors())
	return primary, backup, entries, nil
}

// Verify reads the table back, from the device itself where dev can do that, and says what is not as the layout has it.
// Both copies must be there and right.
func Verify(dev Device, l Layout) error {
	if err := verify(dev, l); err != nil {
		return fmt.Errorf("verify partition table: %w", err)
	}
	return nil
}

func verify(dev Device, l Layout) error {
	if err := device.DropCache(dev); err != nil {
		return fmt.Errorf("drop cached sectors: %w", err)
	}
	d, err := look(dev)
	if err != nil {
		return err
	}
	if err := l.fits(dev, d.layout); err != nil {
		return err
	}
	primary, backup, entries, err := l.encode()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		got  tableCopy
		want header
	}{{"primary", d.primary, primary}, {"backup", d.backup, backup}} {
		switch {
		case !c.got.good():
			return fmt.Errorf("%s copy: %w", c.name, c.got.err)
		case c.got.header != c.want:
			return fmt.Errorf("%s copy: header %+v, want %+v", c.name, c.got.header, c.want)
		case !bytes.Equal(c.got.entries, entries):
			return fmt.Errorf("%s copy: the entries are not the layout's", c.name)
		}
	}
	if d.mbr.kind != mbrProtective || d.mbr.crooked != "" {
		return errors.New("no protective MBR, or a wrong one")
	}
	return nil
}

// Wipe makes a disk or a partition look empty: it writes zeros over the first and the last MiB and over the further
// places where file systems and volumes keep copies of their mark. Of a disk it wipes the table, of a Section or an
// opened partition only what lies inside. What is zero already is not written. The rest of the data is still there, and
// can be made visible again by whoever looks for it.
//
// Steps, each flushed before the next: the end, which holds the backup copy of a table; further marks; the start. A
// power cut leaves it wiped in part, so what was there may or may not be recognised; run it again.
func Wipe(dev Device) error {
	const mark = 4096
	for _, ranges := range [][]area{
		{{max(0, dev.Size()-mib), mib}},
		{{256 << 30, mark}, {64 * mib, mark}, {4 * mib, mark}, {2 * mib, mark}, {mib, mark}, // btrfs, LUKS, bcachefs, VMFS
			{max(0, dev.Size()-3087*512) &^ (mark - 1), mark}}, // Promise
		{{0, mib}},
	} {
		dirty := false
		for _, r := range ranges {
			length := min(r.length, dev.Size()-r.first)
			if length <= 0 || isZero(dev, r.first, length) {
				continue
			}
			dirty = true
			if err := device.Zero(dev, r.first, length); err != nil {
				return fmt.Errorf("wipe %d bytes at %d: %w", length, r.first, err)
			}
		}
		if !dirty {
			continue
		}
		if err := dev.Sync(); err != nil {
			return fmt.Errorf("wipe: flush: %w", err)
		}
	}
	return device.DropCache(dev)
}

// isZero reports whether a place can be read, and reads as zeros.
func isZero(dev Device, off, n int64) bool {
	b := make([]byte, 64<<10)
	for end := off + n; off < end; off += int64(len(b)) {
		b = b[:min(int64(len(b)), end-off)]
		if readFull(dev, b, off) != nil || b[0] != 0 || !bytes.Equal(b[1:], b[:len(b)-1]) {
			return false
		}
	}
	return true
}
