package partition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// usable keeps the usable sectors within what a disk has beside its tables, from begin to end, and widens them where
// that takes in a partition that others left outside: firmware offers no such partition.
func (l *Layout) usable(begin, end int64) {
	if !slices.ContainsFunc(l.Partitions, func(p Partition) bool { return p.First < begin }) {
		l.FirstUsable = max(l.FirstUsable, begin)
	}
	l.LastUsable = min(l.LastUsable, end)
	for _, p := range l.Partitions {
		if p.First >= begin && p.Last() <= end {
			l.FirstUsable, l.LastUsable = min(l.FirstUsable, p.First), max(l.LastUsable, p.Last())
		}
	}
}

// tableSectors is the length of the entries.
func (l Layout) tableSectors() int64 {
	return (int64(l.Entries*l.entrySize) + int64(l.SectorSize) - 1) / int64(l.SectorSize)
}

// existing reports whether a partition is there for the spec. One of the label that does not do is an error.
func (l Layout) existing(s Spec) (bool, error) {
	var found []Partition
	for _, p := range l.Partitions {
		if p.Label == s.Label {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0:
		return false, nil
	case len(found) > 1:
		return false, fmt.Errorf("%d partitions have the label %s, rename all but one: %w", len(found), s.Label,
			ErrForeign)
	case found[0].Type != s.Type:
		return false, fmt.Errorf("%v is of type %s, want %s; rename it or choose another disk: %w", found[0],
			found[0].Type, s.Type, ErrForeign)
	case l.Bytes(found[0]) < s.Size:
		return false, fmt.Errorf("%v has %d bytes, want %d: %w", found[0], l.Bytes(found[0]), s.Size, ErrNoSpace)
	}
	return true, nil
}

func (l Layout) freeNumbers(n int) ([]int, error) {
	used := map[int]bool{}
	for _, p := range l.Partitions {
		used[p.Number] = true
	}
	for _, e := range l.bad {
		used[e.number] = true
	}
	var free []int
	for i := 1; len(free) < n; i++ {
		if i > l.Entries {
			return nil, fmt.Errorf("all %d places of the table are taken: %w", l.Entries, ErrNoSpace)
		}
		if !used[i] {
			free = append(free, i)
		}
	}
	return free, nil
}

// place puts a new partition into the first free area that holds it, or, without a size, makes it fill the largest.
func (l *Layout) place(s Spec, number int) error {
	if s.Size < 0 || s.GUID == uuid.Nil || s.Type == uuid.Nil {
		return fmt.Errorf("partition %s: size %d, type %s, GUID %s: want a type, a GUID and no negative size", s.Label,
			s.Size, s.Type, s.GUID)
	}
	if err := encodeName(make([]byte, 2*nameUnits), s.Label); err != nil {
		return err
	}
	step := int64(align / l.SectorSize)
	want := (s.Size + align - 1) / align * step
	p := Partition{Number: number, Label: s.Label, Type: s.Type, GUID: s.GUID, Attributes: s.Attributes}
	for _, a := range l.free() {
		switch {
		case want == 0 && a.length > p.Sectors:
			p.First, p.Sectors = a.first, a.length
		case want > 0 && a.length >= want:
			p.First, p.Sectors = a.first, want
		}
		if want > 0 && p.Sectors > 0 {
			break
		}
	}
	if p.Sectors == 0 {
		var largest int64
		for _, a := range l.free() {
			largest = max(largest, a.length)
		}
		return fmt.Errorf("partition %s needs %d bytes and the largest free area has %d: %w",
			s.Label, max(s.Size, align), largest*int64(l.SectorSize), ErrNoSpace)
	}
	l.Partitions = append(l.Partitions, p)
	return nil
}

type area struct{ first, length int64 }

// free lists the areas that no partition takes, cut to the alignment, in order.
func (l Layout) free() (areas []area) {
	step := int64(align / l.SectorSize)
	sorted := slices.SortedFunc(slices.Values(l.Partitions),
		func(a, b Partition) int { return cmp.Compare(a.First, b.First) })
	at := l.FirstUsable
	for _, end := range append(sorted, Partition{First: l.LastUsable + 1}) {
		first, last := (at+step-1)/step*step, end.First/step*step
		if last > first {
			areas = append(areas, area{first, last - first})
		}
		at = end.First + end.Sectors
	}
	return areas
}
