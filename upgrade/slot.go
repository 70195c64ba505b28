package upgrade

import (
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/report"
)

// slot reads what slot s holds: names and sizes, not the bytes of the files. What cannot be read makes it partial.
func (m *Machine) slot(s bootloader.Slot) report.Slot {
	man, err := m.manifest(s)
	switch {
	case err == nil:
		return report.Slot{Slot: s, Content: report.Complete, Manifest: man}
	case errors.Is(err, errEmpty):
		return report.Slot{Slot: s, Content: report.Empty}
	}
	return report.Slot{Slot: s, Content: report.Partial, Problem: err.Error()}
}

var errEmpty = errors.New("no files")

// manifest reads the manifest of slot s and checks that what it lists is there: files in their size, partitions of
// images that are large enough.
func (m *Machine) manifest(s bootloader.Slot) (bootloader.Manifest, error) {
	none := bootloader.Manifest{}
	entries, err := m.Boot.ReadDir(s.Dir())
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return none, errEmpty
	case err != nil:
		return none, err
	}
	man, err := bootloader.ReadSlot(m.Boot, s)
	if err == nil {
		err = m.halves.check(s, man)
	}
	if err != nil {
		return none, err
	}
	return man, nil
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
