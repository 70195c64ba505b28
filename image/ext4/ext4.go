// Package ext4 makes an ext4 file system with files in it, on a device, without a kernel and without root.
//
// Start with [Plan]: it takes what the file system is to hold and says whether it fits. [Layout.Format] writes all but
// the content of files, [Layout.Write] that of one. What is not written must read as zeros when both are done, and
// both write those zeros too: a device that knows that it has them already may leave them out. The same size, nodes
// and options make the same bytes.
//
// What is made: blocks of 4 KiB, extents, a journal, inodes of 256 bytes, one for 16 KiB, copies of the superblock in
// the groups 1 and powers of 3, 5 and 7, attributes in a block of their own, nothing kept for root. What is not:
// checksums of metadata, 64-bit block numbers, indexed directories (the kernel makes an index where a directory
// grows), a reserve for tables to grow into (so resize2fs grows it online to 16 GiB at least, and offline to any size).
//
// It follows the kernel's Documentation/filesystems/ext4 (revision 1 of the superblock, version 2 of the journal's).
package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/partition/device"
)

// ErrNoSpace is returned when the size cannot hold the nodes. Do: choose a larger one.
var ErrNoSpace = errors.New("the ext4 has no room for it")

// MinSize is the smallest file system that is made, in bytes: one with a journal of 4 MiB.
const MinSize = 16 << 20

// Node is a file, a directory, a link or a device.
type Node struct {
	Path         string // with slashes, as [fs.ValidPath] has it; "." is the root
	Mode         fs.FileMode
	UID, GID     uint32
	Time         time.Time
	Size         int64             // of a regular file
	Target       string            // of a symbolic link
	Same         string            // path of the node that this is another name of (a hard link); the rest is not read
	Major, Minor uint32            // of a device
	Attributes   map[string]string // extended ones: user., trusted. and security.
}

// Options name the file system. The zero value has no name and no identity.
type Options struct {
	UUID  uuid.UUID
	Label string    // at most 16 bytes
	Time  time.Time // when it was made, and of directories that no node names
}

// Layout is a file system whose parts have their places.
type Layout struct {
	geometry
	Options
	tree    tree
	journal inode
	next    int64 // the first free block
}

// Plan places everything. A parent that no node names becomes a directory of root's, 0755.
func Plan(size int64, nodes []Node, o Options) (*Layout, error) {
	l, err := plan(size, nodes, o)
	if err != nil {
		return nil, fmt.Errorf("ext4 of %d bytes: %w", size, err)
	}
	return l, nil
}

func plan(size int64, nodes []Node, o Options) (*Layout, error) {
	if len(o.Label) > labelLength {
		return nil, fmt.Errorf("label %q: want at most %d bytes", o.Label, labelLength)
	}
	l := &Layout{Options: o}
	err := l.tree.add(nodes, o.Time)
	if err != nil {
		return nil, err
	}
	if l.geometry, err = shape(size, int64(len(l.tree.inodes))); err != nil {
		return nil, err
	}
	l.journal = inode{Node: Node{Path: "the journal", Mode: 0o600, Size: l.journalBlocks() * blockSize, Time: o.Time},
		number: journalInode, links: 1}
	if err := l.place(&l.journal, l.journalBlocks()); err != nil {
		return nil, err
	}
	for _, n := range l.tree.inodes {
		if err := l.place(n, n.contentBlocks()); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Path, err)
		}
	}
	return l, nil
}

// place gives an inode its blocks.
func (l *Layout) place(n *inode, blocks int64) (err error) {
	if len(n.Attributes) > 0 {
		if n.attributes, err = l.one(); err != nil {
			return err
		}
	}
	if n.extents, err = l.allocate(blocks); err != nil {
		return err
	}
	leaves := leavesFor(len(n.extents))
	if leaves > inlineExtents {
		return fmt.Errorf("%d bytes are too many for a file here", n.Size)
	}
	for range leaves {
		leaf, err := l.one()
		if err != nil {
			return err
		}
		n.leaves = append(n.leaves, leaf)
	}
	return nil
}

// Format writes everything but the content of files.
func (l *Layout) Format(dev device.Device) error {
	if dev.Size() < l.blocks*blockSize {
		return fmt.Errorf("ext4 of %d blocks: the device has %d bytes", l.blocks, dev.Size())
	}
	for g := range l.groups {
		if err := l.writeGroup(dev, g); err != nil {
			return err
		}
	}
	if err := l.writeJournal(dev); err != nil {
		return err
	}
	for _, n := range l.tree.inodes {
		if err := n.writeBlocks(dev); err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
	}
	return nil
}

// Write writes the content of a file, which has as many bytes as its node said.
func (l *Layout) Write(dev io.WriterAt, path string, from io.Reader) error {
	n := l.tree.names[path]
	if n == nil || !n.Mode.IsRegular() {
		return fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	buf := make([]byte, 1<<20)
	left := n.Size
	for _, e := range n.extents {
		for off, end := e.start*blockSize, (e.start+e.count)*blockSize; off < end; {
			p := buf[:min(end-off, int64(len(buf)))]
			data := p[:min(left, int64(len(p)))]
			if _, err := io.ReadFull(from, data); err != nil {
				return fmt.Errorf("%s: it has fewer than %d bytes: %w", path, n.Size, noEOF(err))
			}
			clear(p[len(data):])
			if _, err := dev.WriteAt(p, off); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			off, left = off+int64(len(p)), left-int64(len(data))
		}
	}
	if got, err := from.Read(buf[:1]); got > 0 {
		return fmt.Errorf("%s: it has more than %d bytes", path, n.Size)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
