package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is what the file system holds.
type tree struct {
	names  map[string]*inode
	inodes []*inode // each once, in the order of paths; the root is the first
}

// lostFound is where e2fsck puts what it finds, and lostBlocks how many blocks it has for that.
const (
	lostFound  = "lost+found"
	lostBlocks = 4
)

// add takes the nodes, makes the directories that are missing, and numbers all.
func (t *tree) add(nodes []Node, when time.Time) error {
	t.names = map[string]*inode{}
	for i := range nodes {
		n := &nodes[i]
		err := n.check()
		if old := t.names[n.Path]; err == nil && old != nil && !(old.Mode.IsDir() && n.Mode.IsDir()) {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
		if n.Same == "" {
			t.names[n.Path] = &inode{Node: *n, links: 1}
		}
	}
	for _, n := range nodes {
		if err := t.link(n); err != nil {
			return err
		}
	}
	directory := Node{Mode: fs.ModeDir | 0o755, Time: when}
	lost := directory
	lost.Path, lost.Mode = lostFound, fs.ModeDir|0o700
	if there := t.names[lostFound]; there == nil {
		t.names[lostFound] = &inode{Node: lost}
	} else if !there.Mode.IsDir() {
		return fmt.Errorf("%s: want a directory: e2fsck puts there what it finds", lostFound)
	}
	for _, name := range sorted(t.names) {
		for name != "." {
			name = path.Dir(name)
			if t.names[name] == nil {
				directory.Path = name
				t.names[name] = &inode{Node: directory}
			}
		}
	}
	return t.number()
}

// link gives a node another name.
func (t *tree) link(n Node) error {
	if n.Same == "" {
		return nil
	}
	of := t.names[n.Same]
	switch {
	case of == nil:
		return fmt.Errorf("%s: the file %s, which it is another name of, is not there", n.Path, n.Same)
	case of.Mode.IsDir():
		return fmt.Errorf("%s: it would be another name of a directory", n.Path)
	case t.names[n.Path] != nil:
		return fmt.Errorf("%s: it is there twice", n.Path)
	case of.links == 65000:
		return fmt.Errorf("%s: it has too many names", n.Same)
	}
	of.links++
	t.names[n.Path] = of
	return nil
}

// number puts each name into its directory, and numbers the inodes.
func (t *tree) number() error {
	t.inodes = []*inode{t.names["."]}
	t.names["."].number, t.names["."].parent = rootInode, t.names["."]
	t.names["."].links = 2
	for _, name := range sorted(t.names) {
		n := t.names[name]
		if name == "." {
			continue
		}
		dir := t.names[path.Dir(name)]
		if !dir.Mode.IsDir() {
			return fmt.Errorf("%s: %s is no directory", name, dir.Path)
		}
		dir.children = append(dir.children, child{path.Base(name), n})
		if n.number == 0 {
			n.number = firstInode + uint32(len(t.inodes)) - 1
			t.inodes = append(t.inodes, n)
		}
		if n.Mode.IsDir() {
			n.parent, n.links = dir, 2
			dir.links++
		}
	}
	return nil
}

// sorted are the paths of a directory's nodes before those of what is in it.
func sorted(names map[string]*inode) []string {
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
	})
	return all
}

// check refuses what the file system cannot hold.
func (n *Node) check() error {
	switch {
	case !fs.ValidPath(n.Path):
		return fmt.Errorf("%q: want a path that stays inside", n.Path)
	case len(path.Base(n.Path)) > 255:
		return errors.New("a name has at most 255 bytes")
	case strings.Contains(n.Path, "\x00"):
		return errors.New("a name has no zero byte")
	case n.Same != "":
		return nil
	}
	switch kind := n.Mode.Type(); {
	case n.Path == "." && kind != fs.ModeDir:
		return errors.New("the root is a directory")
	case kind == 0 && n.Size < 0:
		return fmt.Errorf("%d bytes", n.Size)
	case kind == fs.ModeSymlink && (len(n.Target) == 0 || len(n.Target) >= blockSize):
		return fmt.Errorf("a link to %d bytes: want 1 to %d", len(n.Target), blockSize-1)
	case kindOf(n.Mode) == 0:
		return errors.New("neither file, directory, link nor device")
	case kind&fs.ModeDevice != 0 && (n.Major >= 1<<12 || n.Minor >= 1<<20):
		return fmt.Errorf("device %d:%d cannot be", n.Major, n.Minor)
	}
	_, err := attributeBlock(n.Attributes)
	return err
}
