package upgrade

import (
	"context"
	"crypto/sha256"
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

// slot reads what slot s holds: names and sizes, not the bytes of the files.
func (m *Machine) slot(s bootloader.Slot) (SlotStatus, error) {
	st := SlotStatus{Slot: s, Content: Empty}
	entries, err := m.Boot.ReadDir(s.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read slot %s: %w", s, err)
	}
	if len(entries) == 0 {
		return st, nil
	}
	data, err := m.Boot.ReadFile(s.File(bootloader.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		st.Content, st.Problem = Partial, "no manifest"
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read the manifest of slot %s: %w", s, err)
	}
	man, err := bootloader.DecodeManifest(data)
	if err != nil {
		st.Content, st.Problem = Partial, err.Error()
		return st, nil
	}
	for _, f := range man.Files {
		info, err := m.Boot.Stat(s.File(f.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			st.Content, st.Problem = Partial, f.Name+" is missing"
			return st, nil
		case err != nil:
			return st, fmt.Errorf("look at %s: %w", s.File(f.Name), err)
		case info.Size != f.Size:
			st.Content, st.Problem = Partial, fmt.Sprintf("%s has %d bytes, its manifest says %d", f.Name, info.Size, f.Size)
			return st, nil
		}
	}
	st.Content, st.Manifest = Complete, man
	return st, nil
}

// version names what a slot holds, for people and for META.
func (s SlotStatus) version() string {
	if s.Content == Complete {
		return s.Manifest.Version
	}
	return string(s.Content)
}

// verify reads the files of slot s back from the device and compares their digests.
func (m *Machine) verify(ctx context.Context, s bootloader.Slot, files []bootloader.File, progress func(file string, n, total int64)) error {
	if m.DropCache != nil {
		if err := m.DropCache(); err != nil {
			return fmt.Errorf("drop cached pages of the boot file system: %w", err)
		}
	}
	var done, total int64
	for _, f := range files {
		total += f.Size
	}
	for _, f := range files {
		in, err := m.Boot.Open(s.File(f.Name))
		if err != nil {
			return fmt.Errorf("read %s back: %w", s.File(f.Name), err)
		}
		h := sha256.New()
		n, err := io.CopyBuffer(h, struct{ io.Reader }{&meter{ctx, in, func(n int64) { progress(f.Name, done+n, total) }, 0}}, make([]byte, 1<<20))
		if err != nil {
			return fmt.Errorf("read %s back: %w", s.File(f.Name), err)
		}
		if got := sum(h); n != f.Size || got != f.SHA256 {
			return fmt.Errorf("read %s back: %d bytes with SHA-256 %s, written were %d with %s; the device does not keep what is written to it",
				s.File(f.Name), n, got, f.Size, f.SHA256)
		}
		done += n
	}
	return nil
}

// meter reads, counts, and stops when the context is done.
type meter struct {
	ctx  context.Context
	r    io.Reader
	tell func(total int64)
	n    int64
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.tell(m.n)
	return n, err
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
