package proof

import "github.com/pawl-os/pawl/partition/disktest"

// What GRUB writes while it boots is in the disk's cache when the system runs; whoever flushes the disk first makes it
// durable. A restart changes nothing about it.

// write is one write of the loader, and what was there before.
type write struct {
	off      int64
	old, new []byte
}

// written is what the loader wrote, in order.
type written struct {
	writes  []write
	flushes int // of the disk, when it had booted
}

// unflushed is what the loader wrote and nobody has flushed since.
func (m *machine) unflushed() []write {
	if m.disk.Flushes() != m.wrote.flushes {
		return nil
	}
	return m.wrote.writes
}

// writing is a disk that notes what is written to it.
type writing struct {
	*disktest.Disk
	writes []write
}

func (w *writing) WriteAt(p []byte, off int64) (int, error) {
	old := make([]byte, len(p))
	if _, err := w.Disk.ReadAt(old, off); err != nil {
		return 0, err // GRUB writes what it has read
	}
	w.writes = append(w.writes, write{off, old, append([]byte(nil), p...)})
	return w.Disk.WriteAt(p, off)
}

// undo takes back the latest n of the loader's writes that are not flushed.
func (m *machine) undo(n int) error {
	writes := m.unflushed()
	for i := range n {
		w := writes[len(writes)-1-i]
		if _, err := m.disk.WriteAt(w.old, w.off); err != nil {
			return err
		}
	}
	return nil
}

// record records from before what the loader wrote and nobody has flushed.
func (m *machine) record() error {
	writes := m.unflushed()
	if err := m.undo(len(writes)); err != nil {
		return err
	}
	m.disk.Record()
	m.disk.Step(bootStep)
	for _, w := range writes {
		if _, err := m.disk.WriteAt(w.new, w.off); err != nil {
			return err
		}
	}
	m.disk.Step("")
	return nil
}

// bootStep is the step of what the loader writes.
const bootStep = "boot"
