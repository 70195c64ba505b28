package bootfs

import (
	"fmt"
	"slices"
)

// Half is how many bytes of files each of the first two zones can hold, both at once, on the volume that Format makes of size
// bytes. Zones do not share pages of the table (see Isolation), so it is less than half of the volume. The names of the
// files are taken to fit the one cluster that a directory begins with.
func Half(size int64, sectorSize int, zones []string) (int64, error) {
	if len(zones) < 2 {
		return 0, fmt.Errorf("room of a new boot file system: %d zones, want at least 2", len(zones))
	}
	n, err := half(&blank{size: size, unit: sectorSize, blocks: map[int64]*[blockSize]byte{}}, zones)
	if err != nil {
		return 0, fmt.Errorf("room of a new boot file system of %d bytes: %w", size, err)
	}
	return n, nil
}

func half(dev *blank, zones []string) (int64, error) {
	if err := Format(dev, FormatOptions{}); err != nil {
		return 0, err
	}
	f, err := Open(dev, Options{Zones: zones})
	if err != nil {
		return 0, err
	}
	for _, z := range zones {
		if err := f.Mkdir(z); err != nil {
			return 0, err
		}
	}
	return f.Half(), nil
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

// blank is a device in memory that holds zeros but for what was written to it.
type blank struct {
	size   int64
	unit   int
	blocks map[int64]*[blockSize]byte
}

func (b *blank) Size() int64     { return b.size }
func (b *blank) SectorSize() int { return b.unit }
func (b *blank) Sync() error     { return nil }

func (b *blank) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at, within := (off+int64(n))/blockSize, (off+int64(n))%blockSize
		if block := b.blocks[at]; block != nil {
			n += copy(p[n:], block[within:])
			continue
		}
		m := min(len(p)-n, int(blockSize-within))
		clear(p[n : n+m])
		n += m
	}
	return len(p), nil
}

func (b *blank) WriteAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at, within := (off+int64(n))/blockSize, (off+int64(n))%blockSize
		m := min(len(p)-n, int(blockSize-within))
		block := b.blocks[at]
		if block == nil && zero(p[n:n+m]) {
			n += m
			continue
		}
		if block == nil {
			block = new([blockSize]byte)
			b.blocks[at] = block
		}
		n += copy(block[within:], p[n:n+m])
	}
	return len(p), nil
}

func zero(p []byte) bool {
	for _, x := range p {
		if x != 0 {
			return false
		}
	}
	return true
}
