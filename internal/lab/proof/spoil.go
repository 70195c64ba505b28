package proof

import (
	"bytes"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition"
)

// spoil overwrites a sector of the kernel in a slot, which keeps its size and its manifest.
func spoil(f *bootfs.FS, m *machine, s bootloader.Slot) error {
	held, err := m.holds(s)
	if err != nil || held == nil {
		return fmt.Errorf("slot %v holds nothing: %w", s, err)
	}
	kernel, err := f.ReadFile(s.File(first(held.files)))
	if err != nil {
		return err
	}
	// The headers of all versions are the same; a sector of the kernel is one version's alone.
	own := bytes.Index(kernel, []byte("kernel of "))
	if own < 0 {
		return fmt.Errorf("slot %v holds no kernel", s)
	}
	own = own / 512 * 512
	at, err := m.find("EFI", kernel[own:own+512])
	if err != nil {
		return err
	}
	_, err = m.disk.WriteAt(pattern("damage", 512), at)
	return err
}

// find returns where on the disk a sector's content lies in a partition.
func (m *machine) find(label string, sector []byte) (int64, error) {
	layout, err := partition.Read(m.disk)
	if err != nil {
		return 0, err
	}
	p, err := layout.Find(label)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 512)
	for at := p.First * 512; at < (p.First+p.Sectors)*512; at += 512 {
		if _, err := m.disk.ReadAt(b, at); err == nil && bytes.Equal(b, sector) {
			return at, nil
		}
	}
	return 0, fmt.Errorf("no such sector in %s", label)
}

// sector is where on the disk a file of one sector lies.
func (m *machine) sector(path string) (int64, error) {
	if at, ok := m.lies[path]; ok {
		return at, nil
	}
	f, err := m.fs(slotZones...)
	if err != nil {
		return 0, err
	}
	data, err := f.ReadFile(path)
	if err != nil {
		return 0, err
	}
	at, err := m.find("EFI", data)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return at, nil
}

// destroy overwrites a file of one sector with random bytes, as a cut can.
func (m *machine) destroy(path string) error {
	at, err := m.sector(path)
	if err != nil {
		return err
	}
	if _, err := m.disk.WriteAt(pattern("\x01\xff\x7fnot a line of "+path, 512), at); err != nil {
		return err
	}
	return m.disk.Sync()
}

// tearMeta leaves META as a cut between its two copies does.
func (m *machine) tearMeta() error {
	c := m.clone()
	store, err := c.meta()
	if err != nil {
		return err
	}
	c.disk.Record()
	if err := store.Set(0x0a, []byte("half way")); err != nil {
		return err
	}
	trace := c.disk.Trace()
	for _, o := range trace.Ops[:trace.Flushes()[0]] {
		if _, err := m.disk.WriteAt(o.Data, o.Off); err != nil {
			return err
		}
	}
	return nil
}

// destroyMeta overwrites both copies.
func (m *machine) destroyMeta() error {
	p, err := m.part("META")
	if err != nil {
		return err
	}
	_, err = p.WriteAt(make([]byte, p.Size()), 0)
	return err
}
