package ext4

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"

	"github.com/pawl-os/pawl/partition/device"
)

var le = binary.LittleEndian

const (
	inlineExtents = 4   // in an inode
	leafExtents   = 340 // in a block
	fastLink      = 60  // from how many bytes on a link's target has a block
)

// inode is a node with its place.
type inode struct {
	Node
	number     uint32
	links      int
	parent     *inode // of a directory
	children   []child
	attributes int64 // block; 0: none
	extents    []extent
	leaves     []int64 // blocks that hold the extents, if there are more than an inode has room for
}

type child struct {
	name string
	*inode
}

// kindOf is what a type is in a mode (shifted by 12) and in a directory; 0 is none that is made.
func kindOf(m fs.FileMode) uint16 {
	switch m.Type() {
	case 0:
		return 8
	case fs.ModeDir:
		return 4
	case fs.ModeSymlink:
		return 10
	case fs.ModeNamedPipe:
		return 1
	case fs.ModeDevice | fs.ModeCharDevice:
		return 2
	case fs.ModeDevice:
		return 6
	}
	return 0
}

// inDirectory is the same, as a directory's entry says it.
var inDirectory = map[uint16]byte{8: 1, 4: 2, 2: 3, 6: 4, 1: 5, 10: 7}

func (n *inode) mode() uint16 {
	m := kindOf(n.Mode)<<12 | uint16(n.Mode.Perm())
	for bit, is := range map[uint16]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n.Mode&is != 0 {
			m |= bit
		}
	}
	return m
}

// contentBlocks is how many blocks its content takes.
func (n *inode) contentBlocks() int64 {
	switch n.Mode.Type() {
	case 0:
		return (n.Size + blockSize - 1) / blockSize
	case fs.ModeDir:
		return int64(len(n.directory())) / blockSize
	case fs.ModeSymlink:
		if len(n.Target) >= fastLink {
			return 1
		}
	}
	return 0
}

// allBlocks counts what lies outside of the inode.
func (n *inode) allBlocks() (all int64) {
	for _, e := range n.extents {
		all += e.count
	}
	if n.attributes != 0 {
		all++
	}
	return all + int64(len(n.leaves))
}

// bytes are the inode as the table has it.
func (n *inode) bytes() []byte {
	b := make([]byte, inodeSize)
	size, blocks, links := n.Size, n.allBlocks()*(blockSize/512), n.links
	switch n.Mode.Type() {
	case 0:
	case fs.ModeDir:
		size = n.contentBlocks() * blockSize
		if links >= 65000 {
			links = 1 // not counted
		}
	case fs.ModeSymlink:
		size = int64(len(n.Target))
	default:
		size = 0
	}
	le.PutUint16(b[0:], n.mode())
	le.PutUint16(b[2:], uint16(n.UID))
	le.PutUint32(b[4:], uint32(size))
	le.PutUint16(b[24:], uint16(n.GID))
	le.PutUint16(b[26:], uint16(links))
	le.PutUint32(b[28:], uint32(blocks))
	le.PutUint32(b[104:], uint32(n.attributes))
	le.PutUint32(b[108:], uint32(size>>32))
	le.PutUint16(b[116:], uint16(blocks>>32))
	le.PutUint16(b[120:], uint16(n.UID>>16))
	le.PutUint16(b[122:], uint16(n.GID>>16))
	le.PutUint16(b[128:], extraSize)
	second, extra := moment(n.Time)
	for _, at := range [][2]int{{8, 140}, {12, 132}, {16, 136}, {144, 148}} { // accessed, changed, modified, created
		le.PutUint32(b[at[0]:], second)
		le.PutUint32(b[at[1]:], extra)
	}
	n.putContent(b)
	return b
}

// putContent says where the content is, or holds it.
func (n *inode) putContent(b []byte) {
	const flags, at, extentsFlag = 32, 40, 0x80000
	switch kind := n.Mode.Type(); {
	case kind == fs.ModeSymlink && len(n.Target) < fastLink:
		copy(b[at:], n.Target)
	case kind&fs.ModeDevice != 0 && n.Major < 256 && n.Minor < 256:
		le.PutUint32(b[at:], n.Major<<8|n.Minor)
	case kind&fs.ModeDevice != 0:
		le.PutUint32(b[at+4:], n.Minor&0xff|n.Major<<8|n.Minor&^0xff<<12)
	case kind != fs.ModeNamedPipe:
		le.PutUint32(b[flags:], extentsFlag)
		if len(n.leaves) == 0 {
			putExtents(b[at:at+60], n.extents)
			return
		}
		header(b[at:], len(n.leaves), inlineExtents, 1)
		for i, leaf := range n.leaves {
			p := b[at+12*(i+1):]
			le.PutUint32(p, uint32(n.extents[i*leafExtents].at))
			le.PutUint32(p[4:], uint32(leaf))
		}
	}
}

// leavesFor is how many blocks so many extents take.
func leavesFor(extents int) int {
	if extents <= inlineExtents {
		return 0
	}
	return (extents + leafExtents - 1) / leafExtents
}

// header starts a node of the tree of extents.
func header(b []byte, entries, room, depth int) {
	le.PutUint16(b, 0xf30a)
	le.PutUint16(b[2:], uint16(entries))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(depth))
}

func putExtents(b []byte, all []extent) {
	header(b, len(all), len(b)/12-1, 0)
	for i, e := range all {
		p := b[12*(i+1):]
		le.PutUint32(p, uint32(e.at))
		le.PutUint16(p[4:], uint16(e.count))
		le.PutUint32(p[8:], uint32(e.start))
	}
}

// moment is a time in seconds, and what of it does not fit there: two bits of seconds more, and nanoseconds.
func moment(t time.Time) (second, extra uint32) {
	s := min(max(t.Unix(), -1<<31), 1<<34-1<<31-1)
	return uint32(s), uint32((s-int64(int32(s)))>>32)&3 | uint32(t.Nanosecond())<<2
}

// writeBlocks writes what an inode has outside of the table, but for the content of a file.
func (n *inode) writeBlocks(dev device.Device) error {
	if n.attributes != 0 {
		b, err := attributeBlock(n.Attributes)
		if err != nil {
			return err
		}
		if _, err := dev.WriteAt(b, n.attributes*blockSize); err != nil {
			return err
		}
	}
	for i, leaf := range n.leaves {
		b := make([]byte, blockSize)
		putExtents(b, n.extents[i*leafExtents:min((i+1)*leafExtents, len(n.extents))])
		if _, err := dev.WriteAt(b, leaf*blockSize); err != nil {
			return err
		}
	}
	var content []byte
	switch n.Mode.Type() {
	case fs.ModeDir:
		content = n.directory()
	case fs.ModeSymlink:
		if len(n.extents) > 0 {
			content = append([]byte(n.Target), make([]byte, blockSize-len(n.Target))...)
		}
	}
	for _, e := range n.extents {
		if content == nil {
			break
		}
		if _, err := dev.WriteAt(content[e.at*blockSize:(e.at+e.count)*blockSize], e.start*blockSize); err != nil {
			return fmt.Errorf("write its content: %w", err)
		}
	}
	return nil
}

// directory are the blocks of one: each is full, for its last entry takes what is left.
func (n *inode) directory() []byte {
	all := make([]byte, 0, blockSize)
	last := 0 // where the last entry begins
	fill := func() {
		left := (blockSize - len(all)%blockSize) % blockSize
		le.PutUint16(all[last+4:], le.Uint16(all[last+4:])+uint16(left))
		all = append(all, make([]byte, left)...)
	}
	add := func(name string, of *inode) {
		long := 8 + (len(name)+3)/4*4
		if room := blockSize - len(all)%blockSize; room < long {
			fill()
		}
		last = len(all)
		e := make([]byte, long)
		le.PutUint32(e, of.number)
		le.PutUint16(e[4:], uint16(long))
		e[6], e[7] = byte(len(name)), inDirectory[kindOf(of.Mode)]
		copy(e[8:], name)
		all = append(all, e...)
	}
	add(".", n)
	add("..", n.parent)
	for _, c := range n.children {
		add(c.name, c.inode)
	}
	fill()
	for n.Path == lostFound && len(all) < lostBlocks*blockSize {
		empty := make([]byte, blockSize)
		le.PutUint16(empty[4:], blockSize)
		all = append(all, empty...)
	}
	return all
}
