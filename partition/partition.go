// Package partition plans GPT partition tables, writes them so that a power cut does no harm, and opens real disks.
//
// Start with Default and Plan, which decide on a Layout without touching anything; Apply writes it, Read and Verify
// look at it. Open gives a disk or an image file as a device, exclusively; its Partition method gives one partition.
//
// Guarantees. A power cut at any write of Apply, or of Grow and then Apply, leaves the old or the new table, complete.
// Partitions that a plan does not know are kept, with every byte of their entries; nothing here removes one but Wipe of
// the whole disk. A table that is not understood, and a disk that holds something else, is an error that says what was
// found. A disk or partition that is mounted, in any mount name space that can be seen, is not opened.
//
// The package writes no file systems, and moves and shrinks no partition. Other tables than GPT are recognised, never
// changed.
//
// Format: UEFI Specification 2.10, chapter 5 (GUID Partition Table).
package partition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/partition/device"
)

// Device is a disk, an image of one, or a partition of either: see package [device].
type Device = device.Device

// Errors that callers act on.
var (
	// ErrNoTable is returned when a disk holds neither a partition table nor anything else that is known. Do: Plan with
	// a nil layout, Apply.
	ErrNoTable = errors.New("no partition table")
	// ErrForeign is returned when a disk holds something else than a GPT that this package understands; the message
	// names it. Nothing was changed. Do: choose another disk, or Wipe it and lose what is there.
	ErrForeign = errors.New("not a disk for us")
	// ErrDamaged is returned when there is a GPT and neither of its copies is valid. Nothing was changed. Do: restore
	// the table, or Wipe the disk and lose what is there.
	ErrDamaged = errors.New("both copies of the partition table are damaged")
	// ErrNotFound is returned when a table has no partition of a label. Do: check that this is the right disk.
	ErrNotFound = errors.New("no such partition")
	// ErrNoSpace is returned when a plan does not fit. Do: use a larger disk, or ask for less.
	ErrNoSpace = errors.New("not enough room on the disk")
	// ErrBusy is returned when a disk or partition is mounted or held by another program; the message names where. Do:
	// unmount it or end the program.
	ErrBusy = errors.New("in use")
)

// Partition types that the default layout uses.
var (
	TypeESP   = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") // EFI system partition
	TypeBIOS  = uuid.MustParse("21686148-6449-6e6f-744e-656564454649") // BIOS boot
	TypeLinux = uuid.MustParse("0fc63daf-8483-4772-8e79-3d69d8477de4") // Linux file system data
)

// Attribute bits of a partition.
const (
	AttrRequired       uint64 = 1 << 0  // the machine needs it
	AttrLegacyBootable uint64 = 1 << 2  // a BIOS may boot from it
	AttrNoAutomount    uint64 = 1 << 63 // not to be mounted automatically
)

// Layout is a disk's partition table. Positions and lengths are in sectors.
type Layout struct {
	GUID        uuid.UUID // the disk's
	SectorSize  int       // bytes
	Sectors     int64     // of the whole disk
	FirstUsable int64     // first sector that a partition may take
	LastUsable  int64     // last one
	Entries     int       // places in the table
	Partitions  []Partition
	// Problems are what Read found wrong and could do without, one sentence each: a damaged copy, a backup that is not
	// at the end of the disk. Apply mends them.
	Problems []string

	entrySize     int        // bytes of one place
	entriesAt     int64      // sector of the primary copy's entries
	backupAt      int64      // sector where the backup copy was when the table was read; 0 on a new table
	backupEntries int64      // sector of its entries, where they may stay; 0: right before it
	extra         string     // bytes of the header after the fields that are known
	bad           []badEntry // places that are taken and hold no partition
}

// Partition is one entry of a table.
type Partition struct {
	Number     int // place in the table, from 1
	Label      string
	Type       uuid.UUID
	GUID       uuid.UUID
	First      int64 // sector
	Sectors    int64
	Attributes uint64

	raw string // the entry as it was read, so that what is not understood is kept
}

// Last is the partition's last sector.
func (p Partition) Last() int64 { return p.First + p.Sectors - 1 }

// String names the partition for people.
func (p Partition) String() string {
	if p.Label == "" {
		return fmt.Sprintf("partition %d", p.Number)
	}
	return fmt.Sprintf("partition %d (%s)", p.Number, p.Label)
}

// Bytes is the partition's size in bytes.
func (l Layout) Bytes(p Partition) int64 { return p.Sectors * int64(l.SectorSize) }

// Find returns the partition with the label. None is ErrNotFound, and so are several, since neither can be chosen. One
// that overlaps another is [ErrForeign]: what is written to the one is lost to the other.
func (l Layout) Find(label string) (Partition, error) {
	var found []Partition
	for _, p := range l.Partitions {
		if p.Label == label {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		if err := l.alone(found[0]); err != nil {
			return Partition{}, fmt.Errorf("find partition %s: %w", label, err)
		}
		return found[0], nil
	case 0:
		return Partition{}, fmt.Errorf("find partition %s: %w", label, ErrNotFound)
	}
	return Partition{}, fmt.Errorf("find partition %s: %d partitions have this label (%s): %w", label, len(found),
		places(found), ErrSeveral)
}

// ByGUID returns the partition with that GUID. The errors are those of Find.
func (l Layout) ByGUID(guid uuid.UUID) (Partition, error) {
	var found []Partition
	for _, p := range l.Partitions {
		if p.GUID == guid {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		if err := l.alone(found[0]); err != nil {
			return Partition{}, fmt.Errorf("find partition %s: %w", guid, err)
		}
		return found[0], nil
	case 0:
		return Partition{}, fmt.Errorf("find partition %s: %w", guid, ErrNotFound)
	}
	return Partition{}, fmt.Errorf("find partition %s: %d partitions have this GUID (%s): %w", guid, len(found),
		places(found), ErrSeveral)
}

// alone refuses a partition that another one overlaps.
func (l Layout) alone(one Partition) error {
	for _, p := range l.Partitions {
		if p.Number != one.Number && p.First <= one.Last() && one.First <= p.Last() {
			return fmt.Errorf("%v and %v overlap, remove one of them: %w", one, p, ErrForeign)
		}
	}
	return nil
}

// ErrSeveral is returned when several partitions have the label or the GUID that one is looked for by; it is also
// [ErrNotFound]. Do: give all but one another.
var ErrSeveral error = several{}

type several struct{}

func (several) Error() string {
	return "which of them is meant is not known; remove or rename all but one"
}
func (several) Is(target error) bool { return target == ErrNotFound }

// places says where partitions lie, to tell those apart that have the same label.
func places(ps []Partition) string {
	var all []string
	for _, p := range ps {
		all = append(all, fmt.Sprintf("partition %d at sector %d", p.Number, p.First))
	}
	return strings.Join(all, ", ")
}

// check refuses what cannot be a table: partitions that overlap, leave the usable area or share a number.
func (l Layout) check() error {
	if faults := l.faults(); len(faults) > 0 {
		return errors.New(faults[0])
	}
	return nil
}

// faults lists all that check refuses.
func (l Layout) faults() (all []string) {
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	sorted := slices.SortedStableFunc(slices.Values(l.Partitions),
		func(a, b Partition) int { return cmp.Compare(a.First, b.First) })
	numbers := map[int]bool{}
	for i, p := range sorted {
		switch {
		case p.Number < 1 || p.Number > l.Entries:
			note("%v: number out of 1 to %d", p, l.Entries)
		case numbers[p.Number]:
			note("%v: number used twice", p)
		case p.Sectors < 1 || p.First < l.FirstUsable || p.Last() > l.LastUsable:
			note("%v: sectors %d to %d are outside of the usable %d to %d", p, p.First, p.Last(), l.FirstUsable,
				l.LastUsable)
		}
		if i > 0 && sorted[i-1].Last() >= p.First {
			note("%v and %v overlap at sector %d", sorted[i-1], p, p.First)
		}
		numbers[p.Number] = true
	}
	return all
}

// Section returns one partition as a device: see [device.Section].
func Section(dev Device, p Partition) Device {
	sector := int64(dev.SectorSize())
	return device.Section(dev, p.First*sector, p.Sectors*sector)
}
