package ext4

import (
	"encoding/binary"
	"io/fs"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/partition/device"
)

// Features, by which a reader knows whether it can read.
const (
	compatible   = 0x4 | 0x8 | 0x20              // a journal, attributes, directories may be indexed
	incompatible = 0x2 | 0x40                    // types in directories, extents
	readOnly     = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 // few superblocks, large and huge files, links not counted, inodes' extra
	extraSize    = 32                            // of an inode, behind its first 128 bytes
	mountOptions = 0x4 | 0x8                     // user attributes and access lists
	halfMD4      = 1                             // how names are hashed, where a directory gets an index
	signedHash   = 1
)

// writeGroup writes the tables of a group.
func (l *Layout) writeGroup(dev device.Device, group int64) error {
	at := group * blocksPerGroup * blockSize
	put := func(b []byte) error {
		_, err := dev.WriteAt(b, at)
		at += int64(len(b))
		return err
	}
	if hasSuper(group) {
		b := make([]byte, (1+l.descriptors)*blockSize)
		super := b
		if group == 0 {
			super = b[1024:]
		}
		l.super(super[:1024], group)
		l.describe(b[blockSize:])
		if err := put(b); err != nil {
			return err
		}
	}
	if err := put(bitmap(l.used(group), l.count(group))); err != nil {
		return err
	}
	if err := put(bitmap(l.usedInodes(group), l.inodes)); err != nil {
		return err
	}
	return l.writeInodes(put, group)
}

// writeInodes writes the inodes of a group, in pieces: most of them are zeros.
func (l *Layout) writeInodes(put func([]byte) error, group int64) error {
	piece := make([]byte, 64*blockSize)
	for from := int64(0); from < l.inodes; {
		count := min(l.inodes-from, int64(len(piece)/inodeSize))
		p := piece[:count*inodeSize]
		clear(p)
		first := group*l.inodes + from + 1
		for i := range count {
			if n := l.numbered(first + i); n != nil {
				copy(p[i*inodeSize:], n.bytes())
			}
		}
		if err := put(p); err != nil {
			return err
		}
		from += count
	}
	return nil
}

// numbered is the inode of a number; nil if it is free, or reserved and empty.
func (l *Layout) numbered(n int64) *inode {
	switch i := n - firstInode + 1; {
	case n == rootInode:
		return l.tree.inodes[0]
	case n == journalInode:
		return &l.journal
	case n >= firstInode && i < int64(len(l.tree.inodes)):
		return l.tree.inodes[i]
	}
	return nil
}

// bitmap has ones for what is used, and for what there is not.
func bitmap(used, there int64) []byte {
	b := make([]byte, blockSize)
	for i := range int64(blockSize) {
		switch first := i * 8; {
		case first+8 <= used || first >= there:
			b[i] = 0xff
		case first < used:
			b[i] = 1<<(used-first) - 1
		}
		if first := i * 8; first < there && first+8 > there {
			b[i] |= 0xff << (there - first)
		}
	}
	return b
}

// describe fills the descriptors of all groups.
func (l *Layout) describe(b []byte) {
	directories := make([]uint16, l.groups)
	for _, n := range l.tree.inodes {
		if n.Mode.Type() == fs.ModeDir {
			directories[int64(n.number-1)/l.inodes]++
		}
	}
	for g := range l.groups {
		d := b[g*descriptorSize:]
		first := g * blocksPerGroup
		if hasSuper(g) {
			first += 1 + l.descriptors
		}
		le.PutUint32(d, uint32(first))
		le.PutUint32(d[4:], uint32(first+1))
		le.PutUint32(d[8:], uint32(first+2))
		le.PutUint16(d[12:], uint16(l.count(g)-l.used(g)))
		le.PutUint16(d[14:], uint16(l.inodes-l.usedInodes(g)))
		le.PutUint16(d[16:], directories[g])
	}
}

// super fills a superblock, which is the same in each group but for the group's number.
func (l *Layout) super(b []byte, group int64) {
	var freeBlocks, freeInodes int64
	for g := range l.groups {
		freeBlocks += l.count(g) - l.used(g)
		freeInodes += l.inodes - l.usedInodes(g)
	}
	second, _ := moment(l.Time)
	for at, v := range map[int]uint32{
		0: uint32(l.inodes * l.groups), 4: uint32(l.blocks), 12: uint32(freeBlocks), 16: uint32(freeInodes),
		24: 2, 28: 2, // blocks of 4 KiB
		32: blocksPerGroup, 36: blocksPerGroup, 40: uint32(l.inodes),
		48: second, 64: second, 264: second, // written, checked, made
		76: 1, 84: firstInode, 92: compatible, 96: incompatible, 100: readOnly,
		224: journalInode, 256: mountOptions, 352: signedHash,
	} {
		le.PutUint32(b[at:], v)
	}
	for at, v := range map[int]uint16{
		54: 0xffff, 56: 0xef53, 58: 1, 60: 1, // checked when wanted; magic; clean; goes on after an error
		88: inodeSize, 90: uint16(group), 348: extraSize, 350: extraSize,
	} {
		le.PutUint16(b[at:], v)
	}
	copy(b[104:], l.UUID[:])
	copy(b[120:120+labelLength], l.Label)
	seed := uuid.NewSHA1(l.UUID, []byte("names"))
	copy(b[236:], seed[:])
	b[252] = halfMD4
	b[253] = 1 // what follows is the journal's inode
	copy(b[268:], l.journal.bytes()[40:100])
	le.PutUint32(b[268+64:], uint32(l.journal.Size))
}

// writeJournal writes one that holds nothing.
func (l *Layout) writeJournal(dev device.Device) error {
	b := make([]byte, blockSize)
	be := binary.BigEndian
	for at, v := range map[int]uint32{
		0: 0xc03b3998, 4: 4, 12: blockSize, 16: uint32(l.journalBlocks()), 20: 1, 24: 1, 64: 1,
	} {
		be.PutUint32(b[at:], v)
	}
	copy(b[48:], l.UUID[:])
	zeros := make([]byte, 64*blockSize)
	for _, e := range l.journal.extents {
		for off, end := e.start*blockSize, (e.start+e.count)*blockSize; off < end; off += int64(len(zeros)) {
			if _, err := dev.WriteAt(zeros[:min(end-off, int64(len(zeros)))], off); err != nil {
				return err
			}
		}
	}
	_, err := dev.WriteAt(b, l.journal.extents[0].start*blockSize)
	return err
}
