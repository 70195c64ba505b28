package osimage

import (
	"fmt"
	"io"
	"io/fs"
	"path"
)

// Archive writes an initramfs: a cpio archive in the "newc" format, as the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst describes it. Everything belongs to root and carries no
// time, so equal content gives equal bytes. Directories are added as they are needed.
type Archive struct {
	w    io.Writer
	err  error
	off  int64
	ino  int
	dirs map[string]bool
}

// NewArchive returns an archive that is written to w. Close ends it.
func NewArchive(w io.Writer) *Archive {
	return &Archive{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// File adds a regular file. Names have no leading slash.
func (a *Archive) File(name string, perm fs.FileMode, content []byte) {
	a.parents(name)
	a.entry(name, 0o100000|uint32(perm.Perm()), 0, 0, content)
}

// CharDevice adds a character device node.
func (a *Archive) CharDevice(name string, perm fs.FileMode, major, minor int) {
	a.parents(name)
	a.entry(name, 0o020000|uint32(perm.Perm()), major, minor, nil)
}

// Dir adds a directory, unless it is there already.
func (a *Archive) Dir(name string) {
	if a.dirs[name] {
		return
	}
	a.parents(name)
	a.dirs[name] = true
	a.entry(name, 0o040755, 0, 0, nil)
}

// Close writes the end marker and returns the first error of all.
func (a *Archive) Close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	return a.err
}

func (a *Archive) parents(name string) { a.Dir(path.Dir(name)) }

func (a *Archive) entry(name string, mode uint32, major, minor int, content []byte) {
	a.ino++
	header := "070701"
	for _, v := range []int{
		a.ino, int(mode), 0, 0, 1, 0, len(content), // inode, mode, uid, gid, links, mtime, size
		0, 0, major, minor, len(name) + 1, 0, // device, device of a node, length of the name, checksum
	} {
		header += fmt.Sprintf("%08X", v)
	}
	a.write([]byte(header + name + "\x00"))
	a.pad()
	a.write(content)
	a.pad()
}

// pad fills up to a multiple of four bytes.
func (a *Archive) pad() { a.write(make([]byte, -a.off&3)) }

func (a *Archive) write(b []byte) {
	if a.err != nil || len(b) == 0 {
		return
	}
	_, a.err = a.w.Write(b)
	a.off += int64(len(b))
}
