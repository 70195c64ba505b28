package ext4

import "fmt"

const (
	blockSize      = 4096
	blocksPerGroup = blockSize * 8 // one bit each in a block
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	bytesPerInode  = 16 << 10
	descriptorSize = 32
	labelLength    = 16

	rootInode    = 2
	journalInode = 8
	firstInode   = 11 // that is not reserved
)

// geometry is where the tables are: each group has, in this order, the superblock and the descriptors of groups (some
// groups), its bitmaps of blocks and inodes, its inodes, and then data.
type geometry struct {
	blocks      int64
	groups      int64
	descriptors int64 // blocks of them
	inodes      int64 // in a group
}

// shape makes one for so many bytes and inodes.
func shape(size, inodes int64) (g geometry, err error) {
	g.blocks = size / blockSize
	switch {
	case size < MinSize:
		return g, fmt.Errorf("want at least %d bytes: %w", MinSize, ErrNoSpace)
	case g.blocks > 1<<32-1:
		return g, fmt.Errorf("want less than 16 TiB")
	}
	for {
		g.groups = (g.blocks + blocksPerGroup - 1) / blocksPerGroup
		g.descriptors = (g.groups*descriptorSize + blockSize - 1) / blockSize
		want := max(g.blocks*blockSize/bytesPerInode, firstInode+inodes)
		g.inodes = (want + g.groups - 1) / g.groups
		g.inodes = (g.inodes + inodesPerBlock - 1) / inodesPerBlock * inodesPerBlock
		if g.inodes > blocksPerGroup {
			return g, fmt.Errorf("%d files are too many for it: %w", inodes, ErrNoSpace)
		}
		last := g.groups - 1
		if g.count(last) > g.tables(last)+64 {
			return g, nil
		}
		if last == 0 {
			return g, fmt.Errorf("%d files: %w", inodes, ErrNoSpace)
		}
		g.blocks = last * blocksPerGroup // a last group that is hardly more than its tables is left out
	}
}

// count is how many blocks a group has.
func (g *geometry) count(group int64) int64 {
	return min(blocksPerGroup, g.blocks-group*blocksPerGroup)
}

// tables is how many of them its tables take.
func (g *geometry) tables(group int64) int64 {
	n := 2 + g.inodes/inodesPerBlock
	if hasSuper(group) {
		n += 1 + g.descriptors
	}
	return n
}

// hasSuper reports whether a group has a copy of the superblock.
func hasSuper(group int64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// journalBlocks is how long the journal is, as mke2fs has it, but for very large file systems.
func (g *geometry) journalBlocks() int64 {
	switch {
	case g.blocks < 32<<10:
		return 1 << 10
	case g.blocks < 256<<10:
		return 4 << 10
	case g.blocks < 512<<10:
		return 8 << 10
	}
	return 16 << 10
}

// extent is a run of blocks.
type extent struct {
	at           int64 // in the file
	start, count int64
}

// allocate takes the next free blocks. They are given out in order, so that what is used of a group is its start.
func (l *Layout) allocate(n int64) (all []extent, err error) {
	for at := int64(0); at < n; {
		group := l.next / blocksPerGroup
		first := group * blocksPerGroup
		l.next = max(l.next, first+l.tables(min(group, l.groups-1)))
		if group >= l.groups {
			return nil, fmt.Errorf("%d KiB more are needed: %w", (n-at)*blockSize>>10, ErrNoSpace)
		}
		if count := min(n-at, first+l.count(group)-l.next); count > 0 {
			all = append(all, extent{at, l.next, count})
			l.next, at = l.next+count, at+count
		} else {
			l.next = (group + 1) * blocksPerGroup
		}
	}
	return all, nil
}

// one takes one block.
func (l *Layout) one() (int64, error) {
	e, err := l.allocate(1)
	if err != nil {
		return 0, err
	}
	return e[0].start, nil
}

// used is how many blocks of a group are used, from its first on.
func (l *Layout) used(group int64) int64 {
	return min(max(l.tables(group), l.next-group*blocksPerGroup), l.count(group))
}

// usedInodes is how many inodes of a group are used, from its first on.
func (l *Layout) usedInodes(group int64) int64 {
	all := firstInode - 1 + int64(len(l.tree.inodes)) - 1 // the root is one of the reserved ones
	return min(max(0, all-group*l.inodes), l.inodes)
}
