package bootfs

import (
	"fmt"
	"slices"
)

// Half is how many bytes of files each of the first two zones can hold, both at once, on the volume that Format makes
// of size bytes. Zones do not share pages of the table (see Isolation), so it is less than half of the volume. The
// names of the files are taken to fit the one cluster that a directory begins with.
func Half(size int64, sectorSize int, zones []string) (int64, error) {
	f, err := blank(size, sectorSize, zones)
	if err != nil {
		return 0, fmt.Errorf("room of a new boot file system of %d bytes: %w", size, err)
	}
	return f.Half(), nil
}

// blank is what Format would make, with its zones' directories: without a device, and so only to be asked for room.
func blank(size int64, sectorSize int, zones []string) (*FS, error) {
	if len(zones) < 2 {
		return nil, fmt.Errorf("%d zones, want at least 2", len(zones))
	}
	g, err := planGeometry(size, sectorSize)
	if err != nil {
		return nil, err
	}
	v, err := decodeVolume(g.bootSector("", 0), size, sectorSize)
	if err != nil {
		return nil, err
	}
	f := &FS{vol: v, table: make([]uint32, v.end), claim: make([]byte, v.end)}
	if err := f.setZones(zones); err != nil {
		return nil, err
	}
	f.claim[v.root] = rest
	for i, elems := range f.zones {
		if _, err := f.take(rest, int64(len(elems))-1, false); err != nil { // the directories above, at most
			return nil, err
		}
		if _, err := f.take(zone(i), 1, false); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Half is the same for this volume, with all else on it as it is. It is 0 without two zones.
func (f *FS) Half() int64 {
	if len(f.zones) < 2 {
		return 0
	}
	const two = rest<<1 | rest<<2
	g := &FS{vol: f.vol, zones: f.zones, table: f.table, claim: slices.Clone(f.claim)}
	for c := range g.claim {
		if g.claim[c]&two != 0 && g.claim[c]&owners&^two == 0 {
			g.claim[c] = 0
		}
	}
	all, _ := g.room(zone(0), false)
	if _, err := g.take(zone(0), all/2, false); err != nil {
		return 0
	}
	left, _ := g.room(zone(1), false)
	_, page := f.vol.pages() // what the directories take, wherever they are
	return max(min(all/2, left)*int64(f.vol.cluster)-page, 0)
}
