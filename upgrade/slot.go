package upgrade

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
)

// Content is how much of a system a slot holds.
type Content string

// What a slot can hold.
const (
	Empty    Content = "empty"    // no files
	Partial  Content = "partial"  // files without a manifest, or files that do not match it in number or size
	Complete Content = "complete" // a manifest, and every file that it lists in its full size
)

// SlotStatus is one slot, from its directory alone.
type SlotStatus struct {
	Slot     bootloader.Slot
	Content  Content
	Manifest bootloader.Manifest // zero unless Content is Complete
	Problem  string              // what makes it partial
}

// slot reads what slot s holds: names and sizes, not the bytes of the files. What cannot be read makes it partial.
func (m *Machine) slot(s bootloader.Slot) SlotStatus {
	man, err := m.manifest(s)
	switch {
	case err == nil:
		return SlotStatus{Slot: s, Content: Complete, Manifest: man}
	case errors.Is(err, errEmpty):
		return SlotStatus{Slot: s, Content: Empty}
	}
	return SlotStatus{Slot: s, Content: Partial, Problem: err.Error()}
}

var errEmpty = errors.New("no files")

// manifest reads the manifest of slot s and checks that what it lists is there.
func (m *Machine) manifest(s bootloader.Slot) (bootloader.Manifest, error) {
	none := bootloader.Manifest{}
	entries, err := m.Boot.ReadDir(s.Dir())
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return none, errEmpty
	case err != nil:
		return none, err
	}
	return bootloader.ReadSlot(m.Boot, s)
}

// String says what a slot holds, for people.
func (s SlotStatus) String() string {
	switch {
	case s.Content == Complete:
		return fmt.Sprintf("slot %s holds version %s", s.Slot, s.Manifest.Version)
	case s.Problem != "":
		return fmt.Sprintf("slot %s is %s: %s", s.Slot, s.Content, s.Problem)
	}
	return fmt.Sprintf("slot %s is %s", s.Slot, s.Content)
}

// version names what a slot holds, for people and for META.
func (s SlotStatus) version() string {
	if s.Content == Complete {
		return s.Manifest.Version
	}
	return string(s.Content)
}

// meter reads, counts, and stops when the context is done.
type meter struct {
	ctx  context.Context
	r    io.Reader
	tell func(total int64)
	n    int64
}

func (m *meter) Read(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, context.Cause(m.ctx)
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.tell(m.n)
	return n, err
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
