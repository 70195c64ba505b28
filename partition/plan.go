package partition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

const (
	mib = 1 << 20
	// align is the boundary, in bytes, on which partitions begin and end.
	align = mib
)

// Spec is a partition to have.
type Spec struct {
	Label string
	Type  uuid.UUID
	GUID  uuid.UUID // of a new partition; one that is there keeps its own
	// bytes, rounded up to whole MiB; 0 takes the largest free area, after all others have their place
	Size       int64
	Attributes uint64 // of a new partition
}

// Pair is a pair of partitions for an image of the slots, one for each.
type Pair struct {
	Image string    // its name, such as "root"
	Size  int64     // bytes of each half
	Type  uuid.UUID // of both; zero is TypeLinux
}

// Specs are the two partitions. Seed is as in [Defaults].
func (p Pair) Specs(labels Labels, seed string) []Spec {
	kind := p.Type
	if kind == uuid.Nil {
		kind = TypeLinux
	}
	specs := []Spec{
		{Label: string(Half(p.Image, "A")), Type: kind, Size: p.Size},
		{Label: string(Half(p.Image, "B")), Type: kind, Size: p.Size},
	}
	finish(specs, labels, seed)
	return specs
}

// finish gives partitions of roles what all of them have: a GUID, the label, and that nothing mounts them by itself.
func finish(specs []Spec, labels Labels, seed string) {
	for i := range specs {
		specs[i].Attributes |= AttrNoAutomount
		specs[i].GUID = uuid.New()
		if seed != "" {
			specs[i].GUID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(seed+"\x00"+specs[i].Label))
		}
		specs[i].Label = labels.Of(Role(specs[i].Label))
	}
}

// Defaults adjusts the default layout. The zero value is the layout of docs/reference/disk.md.
type Defaults struct {
	EFI    int64  // bytes of the boot file system; default 1 GiB
	State  int64  // bytes of STATE; default 100 MiB
	Labels Labels // of the partitions; whoever opens the disk needs the same
	// Seed makes the same GUIDs for the same seed, for images that can be built again bit by bit. Without it they are
	// random.
	Seed string
}

// Default returns the partitions of a Pawl disk, one for each of [Roles] but Mirror.
func Default(d Defaults) []Spec {
	specs := []Spec{
		{Label: string(EFI), Type: TypeESP, Size: cmp.Or(d.EFI, 1024*mib)},
		{Label: string(BIOS), Type: TypeBIOS, Size: mib, Attributes: AttrLegacyBootable},
		{Label: string(Meta), Type: TypeLinux, Size: mib},
		{Label: string(State), Type: TypeLinux, Size: cmp.Or(d.State, 100*mib)},
		{Label: string(Ephemeral), Type: TypeLinux},
	}
	finish(specs, d.Labels, d.Seed)
	return specs
}

// Plan says how a disk of size bytes would look with the wanted partitions. It touches nothing, and the same arguments
// give the same result.
//
// A nil current is an empty disk. Otherwise what is there stays where it is, known or not: a wanted partition is taken
// as it is when one with its label and type is there and large enough, and is put into the first free area that holds
// it when not. On a new table the GUID of the disk is derived from the first partition's; the caller may change it.
func Plan(current *Layout, size int64, sectorSize int, specs []Spec) (Layout, error) {
	l, err := plan(current, size, sectorSize, specs)
	if err != nil {
		return Layout{}, fmt.Errorf("plan partitions: %w", err)
	}
	return l, nil
}

func plan(current *Layout, size int64, sectorSize int, specs []Spec) (Layout, error) {
	l, err := frame(current, size, sectorSize)
	if err != nil {
		return Layout{}, err
	}
	if err := l.check(); err != nil && len(specs) > 0 {
		return Layout{}, fmt.Errorf("the table that is there: %v: %w", err, ErrForeign)
	}
	if current == nil && len(specs) > 0 {
		l.GUID = uuid.NewSHA1(specs[0].GUID, []byte("disk"))
	}
	labels := map[string]bool{}
	var missing []Spec
	for _, s := range specs {
		if s.Label == "" || labels[s.Label] {
			return Layout{}, fmt.Errorf("label %q is empty or wanted twice", s.Label)
		}
		labels[s.Label] = true
		there, err := l.existing(s)
		if err != nil {
			return Layout{}, err
		}
		if !there {
			missing = append(missing, s)
		}
	}
	// Those with a size first, so that the rest is what remains; numbers follow the order that was asked for.
	numbers, err := l.freeNumbers(len(missing))
	if err != nil {
		return Layout{}, err
	}
	for _, rest := range []bool{false, true} {
		for i, s := range missing {
			if (s.Size == 0) == rest {
				if err := l.place(s, numbers[i]); err != nil {
					return Layout{}, err
				}
			}
		}
	}
	slices.SortFunc(l.Partitions, func(a, b Partition) int { return a.Number - b.Number })
	return l, nil
}

// frame is the layout before anything is added: current fitted to the disk's size, or an empty table.
func frame(current *Layout, size int64, sectorSize int) (Layout, error) {
	if sectorSize != 512 && sectorSize != 4096 {
		return Layout{}, fmt.Errorf("sector size %d, want 512 or 4096", sectorSize)
	}
	l := Layout{SectorSize: sectorSize, Entries: newEntries, entrySize: entrySize, entriesAt: 2}
	if current != nil {
		if current.SectorSize != sectorSize {
			return Layout{}, fmt.Errorf("the table was read with sectors of %d bytes, and the disk has %d",
				current.SectorSize, sectorSize)
		}
		l = *current
		l.Partitions, l.Problems = slices.Clone(current.Partitions), nil
	}
	l.Sectors = size / int64(sectorSize)
	begin, end := l.entriesAt+l.tableSectors(), l.Sectors-2-l.tableSectors()
	if current == nil {
		l.FirstUsable = begin
	}
	if current == nil || current.backupAt != l.Sectors-1 {
		l.LastUsable, l.backupEntries = end, 0
	}
	l.usable(begin, end)
	if l.LastUsable < l.FirstUsable {
		return Layout{}, fmt.Errorf("a disk of %d bytes does not hold a partition table: %w", size, ErrNoSpace)
	}
	for _, p := range l.Partitions {
		if p.Last() > end {
			return Layout{}, fmt.Errorf("the disk has %d sectors, and %v reaches to sector %d where %d is the last "+
				"that leaves room for the backup copy of the table; "+
				"make the disk larger again, or that partition smaller with another program: %w", l.Sectors, p,
				p.Last(), end, ErrForeign)
		}
	}
	return l, nil
}

// Grow says how the table looks after the disk grew to size bytes: the partition that lies last reaches to the new end,
// and the backup copy follows when it is applied. A disk that did not grow gives the same table.
func Grow(current Layout, size int64) (Layout, error) {
	l, err := frame(&current, size, current.SectorSize)
	if err == nil {
		if fault := l.check(); fault != nil {
			err = fmt.Errorf("the table that is there: %v: %w", fault, ErrForeign)
		}
	}
	if err != nil {
		return Layout{}, fmt.Errorf("grow partitions: %w", err)
	}
	if len(l.Partitions) == 0 {
		return l, nil
	}
	last := 0
	for i, p := range l.Partitions {
		if p.First > l.Partitions[last].First {
			last = i
		}
	}
	step := int64(align / l.SectorSize)
	p := &l.Partitions[last]
	p.Sectors = max(p.Sectors, (l.LastUsable+1)/step*step-p.First)
	return l, nil
}
