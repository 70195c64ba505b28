package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/disks"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade"
)

// Elsewhere is where a mirror may lie that is not on the machine's own disk.
type Elsewhere struct {
	Paths   []string        // of disks
	Devices []device.Device // disks that are open already, and stay the caller's
}

// Around is Elsewhere for the machine on disk: the other disks of this machine, where it is a block device, and none
// where it is a file.
func Around(disk string) (Elsewhere, error) {
	own, err := os.Stat(disk)
	if err != nil || own.Mode()&os.ModeDevice == 0 {
		return Elsewhere{}, err
	}
	list, err := disks.List()
	if err != nil {
		return Elsewhere{}, err
	}
	var e Elsewhere
	for _, d := range list {
		if info, err := os.Stat(d.Path); err != nil || !os.SameFile(info, own) {
			e.Paths = append(e.Paths, d.Path)
		}
	}
	return e, nil
}

// record is what META holds of a mirror.
type record struct {
	Partition string `json:"partition"` // its GUID
}

// Declared is the GUID of the mirror's partition, as META has it. None is [ErrNone].
func Declared(m *upgrade.Machine) (uuid.UUID, error) {
	values, err := m.MetaValues()
	if err != nil {
		return uuid.Nil, fmt.Errorf("look whether there is a second boot file system: %w", err)
	}
	data, is := values[meta.TagMirror]
	if !is {
		return uuid.Nil, ErrNone
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return uuid.Nil, fmt.Errorf("META's record of the second boot file system: %w", err)
	}
	guid, err := uuid.Parse(r.Partition)
	if err != nil {
		return uuid.Nil, fmt.Errorf("META's record of the second boot file system: %w", err)
	}
	return guid, nil
}

// open opens the mirror that META declares: only to look at it, where the machine is open only to look.
func open(m *upgrade.Machine, e Elsewhere) (*mirror, error) {
	guid, err := Declared(m)
	if err != nil {
		return nil, err
	}
	x, err := openAt(m, e, guid)
	if err != nil {
		return nil, fmt.Errorf("open the second boot file system: %w", err)
	}
	return x, nil
}

func openAt(m *upgrade.Machine, e Elsewhere, guid uuid.UUID) (*mirror, error) {
	own, err := partition.Read(m.Disk)
	if err != nil {
		return nil, err
	}
	first, err := m.Labels.Find(own, partition.EFI)
	if err != nil {
		return nil, err
	}
	x := &mirror{m: m, close: func() error { return nil }}
	if x.first, err = drive(first); err != nil {
		return nil, err
	}
	var found []func() error // of each that it may be: how it is opened
	if p, err := own.ByGUID(guid); err == nil {
		found = append(found, func() error { return x.onOwn(p) })
	}
	for _, dev := range e.Devices {
		if p, err := find(dev, guid); err == nil {
			found = append(found, func() error { return x.take(p, partition.Section(dev, p), "another disk") })
		}
	}
	var unread error
	for _, path := range e.Paths {
		p, err := findAt(path, guid)
		switch {
		case err == nil:
			found = append(found, func() error { return x.onOther(path, p) })
		case !errors.Is(err, partition.ErrNotFound) && !errors.Is(err, partition.ErrNoTable) &&
			!errors.Is(err, partition.ErrForeign):
			unread = errors.Join(unread, err)
		}
	}
	switch len(found) {
	case 0:
		return nil, errors.Join(fmt.Errorf("no disk has its partition %s: %w", guid, ErrGone), unread)
	case 1:
		return x, found[0]()
	}
	return nil, fmt.Errorf("%d disks have its partition %s: %w", len(found), guid, partition.ErrSeveral)
}

func find(dev device.Device, guid uuid.UUID) (partition.Partition, error) {
	layout, err := partition.Read(dev)
	if err != nil {
		return partition.Partition{}, err
	}
	return layout.ByGUID(guid)
}

func findAt(path string, guid uuid.UUID) (p partition.Partition, err error) {
	d, err := partition.Open(path, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return find(d, guid)
}

// take is the end of opening it.
func (x *mirror) take(p partition.Partition, dev device.Device, disk string) (err error) {
	x.dev, x.on = dev, fmt.Sprintf("%v of %s", p, disk)
	x.at, err = drive(p)
	return err
}

// onOwn opens it on the machine's own disk.
func (x *mirror) onOwn(p partition.Partition) error {
	layout, err := partition.Read(x.m.Disk)
	if err != nil {
		return err
	}
	labelled, err := x.m.Labels.Find(layout, partition.Mirror)
	if err != nil {
		return err
	}
	if labelled.GUID != p.GUID {
		return fmt.Errorf("META says that it is %v, and %v has its label: %w", p, labelled, ErrGone)
	}
	dev, err := x.m.Part(partition.Mirror)
	if err != nil {
		return err
	}
	return x.take(p, dev, "the machine's own disk")
}

// onOther opens it on another disk.
func (x *mirror) onOther(path string, p partition.Partition) error {
	d, err := partition.Open(path, partition.OpenOptions{ReadOnly: x.m.ReadOnly, Partitions: true})
	if err != nil {
		return err
	}
	opened, err := d.Partition(p.Label)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	x.close = func() error { return errors.Join(opened.Close(), d.Close()) }
	if opened.Entry.GUID != p.GUID {
		return errors.Join(fmt.Errorf("the partition table of %s has changed", path), x.close())
	}
	return x.take(p, opened, path)
}
