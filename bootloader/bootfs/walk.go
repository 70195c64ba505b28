package bootfs

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Problem is one thing that is not as it should be.
type Problem struct {
	Path string // the file or directory, empty for the volume as a whole
	Text string
}

// String is the problem in one line.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// maxProblems bounds what is kept of a badly damaged volume.
const maxProblems = 100

func (f *FS) problem(path, format string, a ...any) {
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, Problem{path, fmt.Sprintf(format, a...)})
	}
}

// node is a directory that waits to be walked.
type node struct {
	dir
	path     string
	clusters int64 // of its own, and sound
}

// walk claims every cluster that a path leads to. It goes by the table in memory, so that a sector of the first table
// that cannot be read does not make clusters look free. Each cluster is walked once, whatever the volume holds.
func (f *FS) walk() {
	f.claim = make([]byte, f.vol.end)
	root := node{dir: f.rootDir()}
	var err error
	if root.clusters, err = f.claimChain(root.first, rest); err != nil {
		f.damage(root, "", "%v", err)
	}
	for todo := []node{root}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = f.walkDir(n, todo[:len(todo)-1])
	}
	if f.lost != 0 {
		for c := uint32(2); c < f.vol.end; c++ {
			if e := f.table[c] & entryMask; f.claim[c] == 0 && e != entryFree && e != entryBad {
				f.claim[c] = kept
			}
		}
	}
}

// damage notes that something of this owner leads nowhere, so that some of its clusters may not be claimed.
func (f *FS) damage(n node, name, format string, a ...any) {
	f.lost |= n.owner
	f.problem(strings.Trim(n.path+"/"+name, "/"), format, a...)
}

func (f *FS) walkDir(n node, todo []node) []node {
	var r reader
	left := n.clusters
	next := func(c uint32) (uint32, error) {
		if left--; left <= 0 {
			return 0, nil // claimChain has reported it if the chain goes on
		}
		return f.vol.link(c, f.table[c])
	}
	if left == 0 {
		return todo
	}
	err := f.scan(n.first, next, func(off int64, b []byte) bool {
		if e, ok := r.add(off, b); ok {
			todo = f.walkEntry(n, e, todo)
		}
		return !r.end
	})
	if err != nil {
		f.damage(n, "", "%v", err)
	}
	if n.depth > 0 && r.dots != 2 {
		f.damage(n, "", "does not begin with the entries . and ..")
	}
	return todo
}

func (f *FS) walkEntry(n node, e entry, todo []node) []node {
	sub := node{dir: f.child(n.dir, e)}
	switch {
	case e.first == 0 && e.size == 0 && !e.dir:
		return todo
	case e.first == 0:
		f.damage(node{dir: sub.dir, path: n.path}, e.name, "has no clusters")
		return todo
	}
	flags := sub.owner
	if !e.dir && sub.owner == rest && e.size <= blockSize {
		flags |= alone
	}
	var err error
	sub.clusters, err = f.claimChain(e.first, flags)
	want := f.vol.clustersFor(e.size)
	switch {
	case err != nil:
		f.damage(node{dir: sub.dir, path: n.path}, e.name, "%v", err)
	case !e.dir && sub.clusters < want:
		f.damage(node{dir: sub.dir, path: n.path}, e.name, "has %d clusters, %d bytes need %d", sub.clusters, e.size,
			want)
	case !e.dir && sub.clusters > want:
		f.problem(strings.TrimPrefix(n.path+"/"+e.name, "/"), "has %d clusters, %d bytes need only %d", sub.clusters,
			e.size, want)
	}
	if sub.owner != n.owner && f.vol.valid(e.first) && f.claim[e.first] == 0 {
		f.claim[e.first] = sub.owner // a zone keeps its place though its part of the table is destroyed, see Clear
	}
	if e.dir && sub.clusters > 0 {
		sub.path = strings.TrimPrefix(n.path+"/"+e.name, "/")
		if len(sub.path) > 4096 {
			sub.path = "..." + sub.path[len(sub.path)-4000:]
		}
		todo = append(todo, sub)
	}
	return todo
}

var errCrossed = errors.New("shares clusters with another file")

// claimChain claims the clusters from c on and returns how many were nobody's before. It ends, because each step adds a
// bit to a cluster.
func (f *FS) claimChain(c uint32, flags byte) (int64, error) {
	owner := flags & owners
	var fresh int64
	var crossing error
	for {
		if !f.vol.valid(c) {
			return fresh, fmt.Errorf("leads to cluster %d, the volume has none of that number", c)
		}
		switch e := f.table[c] & entryMask; {
		case e == entryFree, e == entryLost, e == entryBad:
			return fresh, fmt.Errorf("leads to cluster %d, which the table does not give to any file", c)
		case f.claim[c] == 0:
			f.claim[c] = flags
			if crossing == nil {
				fresh++
			}
		case f.claim[c]&owner != 0 && f.claim[c]&crossed != 0:
			return fresh, errCrossed
		default:
			f.claim[c] |= owner | crossed
			crossing = errCrossed
		}
		next, err := f.vol.link(c, f.table[c])
		if err != nil {
			return fresh, err
		}
		if next == 0 {
			return fresh, crossing
		}
		c = next
	}
}

// Check reads the volume anew and returns everything that is not as it should be, at most 100 things: damage, clusters
// that belong to no file, differences between the two tables, zones that share a block, the mark of another system that
// did not unmount it. Leftovers and differences do no harm and go away with the next operation on their zone.
func (f *FS) Check() ([]Problem, error) {
	zones := make([]string, len(f.zones))
	for i, elems := range f.zones {
		zones[i] = strings.Join(elems, "/")
	}
	now, err := Open(f.dev, Options{Zones: zones, Now: f.now})
	if err != nil {
		return nil, err
	}
	leftover, differ, shared := 0, 0, 0
	for c := uint32(2); c < now.vol.end; c++ {
		if e := now.table[c] & entryMask; now.claim[c]&owners == 0 && e != entryFree && e != entryBad {
			leftover++
		}
	}
	for _, s := range now.stale {
		if s {
			differ++
		}
	}
	for _, who := range now.blocks() {
		if bits.OnesCount8(who&owners) > 1 {
			shared++
		}
	}
	if leftover > 0 {
		now.problem("", "%d clusters are marked used and belong to no file", leftover)
	}
	if differ > 0 {
		now.problem("", "%d sectors of the two tables differ or cannot be read", differ)
	}
	if shared > 0 {
		now.problem("", "%d blocks are shared between zones", shared)
	}
	dirty, err := now.dirty()
	if err != nil {
		return nil, err
	}
	if dirty {
		now.problem("", "it is marked as in use: another system has it mounted, or was cut off while it had")
	}
	return now.problems, nil
}

// dirty reports whether one of the marks is set that systems set while they have the volume mounted for writing: in the
// boot sector, as Linux does, or in the table's entry 1, whose two highest bits are set on a volume that is clean.
func (f *FS) dirty() (bool, error) {
	b := make([]byte, f.vol.unit)
	if err := f.read(0, b); err != nil {
		return false, err
	}
	const clean = 0x0c000000
	return b[65]&3 != 0 || f.table[1] != entryLost && f.table[1]&clean != clean, nil
}
