package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/predict"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/upgrade"
)

// Check says why a machine cannot have a mirror; nil when it can. Where it is to lie is not looked at.
func Check(m *upgrade.Machine) error {
	if b := m.Backend(); b.Takes().OwnFile == bootloader.CoreFile || predict.ByEither(b.Name()) {
		return fmt.Errorf("a BIOS starts what is in a disk's first sector, and goes on to no other: %w", ErrUnfit)
	}
	layout, err := partition.Read(m.Disk)
	if err != nil {
		return err
	}
	first, err := m.Labels.Find(layout, partition.EFI)
	if err != nil {
		return err
	}
	if first.Type != partition.TypeESP {
		return fmt.Errorf("%v, the first one, is not of the type of an EFI system partition: %w", first, ErrUnfit)
	}
	st, _, err := m.Runs()
	if err != nil {
		return err
	}
	if st.Default == bootloader.None {
		return fmt.Errorf("nothing boots by itself yet: %w", ErrUnfit)
	}
	manifest, err := bootloader.ReadSlot(m.Boot, st.Default)
	if err != nil {
		return fmt.Errorf("slot %v: %w", st.Default, err)
	}
	return (&wanted{manifest: manifest}).check()
}

// Lay gives a disk a partition for the mirror of a machine, as large as the machine's first boot file system: in its
// free space, or in a new table where it holds nothing. One that is labelled so is taken. Nothing of the partition is
// written. What else is on the disk stays; a disk that holds something else than a partition table is
// [partition.ErrForeign].
//
// GRUB's image looks for its file system by the partition's number, so its mirror is the first partition of a disk of
// its own.
func Lay(m *upgrade.Machine, dev device.Device) (uuid.UUID, error) {
	guid, err := lay(m, dev)
	if err != nil {
		return guid, fmt.Errorf("lay out a second boot file system: %w", err)
	}
	return guid, nil
}

func lay(m *upgrade.Machine, dev device.Device) (uuid.UUID, error) {
	if err := Check(m); err != nil {
		return uuid.Nil, err
	}
	own, err := partition.Read(m.Disk)
	if err != nil {
		return uuid.Nil, err
	}
	first, err := m.Labels.Find(own, partition.EFI)
	if err != nil {
		return uuid.Nil, err
	}
	var current *partition.Layout
	switch there, err := partition.Read(dev); {
	case err == nil:
		current = &there
	case !errors.Is(err, partition.ErrNoTable):
		return uuid.Nil, err
	}
	plan, err := partition.Plan(current, dev.Size(), dev.SectorSize(), []partition.Spec{{
		Label: m.Labels.Of(partition.Mirror), Type: partition.TypeESP, GUID: uuid.New(), Size: own.Bytes(first),
		Attributes: partition.AttrNoAutomount,
	}})
	if err != nil {
		return uuid.Nil, err
	}
	p, err := m.Labels.Find(plan, partition.Mirror)
	if err != nil {
		return uuid.Nil, err
	}
	at, err := drive(p)
	if err != nil {
		return uuid.Nil, err
	}
	if err := m.Backend().Fits(bootloader.Disk{Device: dev, Boot: at}); err != nil {
		return uuid.Nil, fmt.Errorf("%w: %w", err, ErrUnfit)
	}
	return p.GUID, partition.Apply(dev, plan)
}

// Make declares the partition of that GUID (see [Lay]) as the machine's mirror, and fills it. What it held is lost. If
// power fails
//
//	before META's update   there is no mirror
//	after it               there is one that is not in step, which the next Keep fills
func Make(ctx context.Context, m *upgrade.Machine, e Elsewhere, guid uuid.UUID) (Report, error) {
	r, err := makeIt(ctx, m, e, guid)
	if err != nil {
		return r, fmt.Errorf("make a second boot file system: %w", err)
	}
	return r, nil
}

func makeIt(ctx context.Context, m *upgrade.Machine, e Elsewhere, guid uuid.UUID) (r Report, err error) {
	if err := Check(m); err != nil {
		return r, err
	}
	x, err := openAt(m, e, guid)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	started, err := x.started()
	switch {
	case err != nil:
		return r, err
	case started:
		return r, ErrStarted
	case x.at.GUID == x.first.GUID:
		return r, fmt.Errorf("it is the first one: %w", ErrUnfit)
	case x.at.Sectors*uint64(x.dev.SectorSize()) < x.first.Sectors*uint64(m.Disk.SectorSize()):
		return r, fmt.Errorf("%s is smaller than the first one: %w", x.on, ErrUnfit)
	}
	if f, err := x.volume(); err == nil {
		if of, err := bootloader.MirrorOf(f); err == nil && of != "" && of != x.first.GUID.String() {
			return r, fmt.Errorf("%s is that of another machine, whose first one is partition %s; wipe that partition if that "+
				"is over: %w", x.on, of, ErrUnfit)
		}
	}
	if err := retire(m, e, guid); err != nil {
		return r, err
	}
	data, err := json.Marshal(record{guid.String()})
	if err != nil {
		return r, err
	}
	if err := m.SetMirror(data); err != nil {
		return r, err
	}
	return x.keep(ctx, KeepOptions{Deep: true, Move: true})
}

// retire takes the loader of a mirror that is declared and is to be none any more: it would start an earlier version
// one day.
func retire(m *upgrade.Machine, e Elsewhere, next uuid.UUID) error {
	was, err := Declared(m)
	if errors.Is(err, ErrNone) || err == nil && was == next {
		return nil
	}
	if err != nil {
		return err
	}
	x, err := openAt(m, e, was)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	started, err := x.started()
	switch {
	case err != nil:
	case started:
		err = ErrStarted
	default:
		err = x.disable()
	}
	return errors.Join(err, x.close())
}

// Forget ends it: the mirror loses its loader, so that no firmware starts it by itself, then the firmware its entry,
// and then META its record. One that is gone is forgotten all the same. Its partition stays. After a cut it can be run
// again.
func Forget(m *upgrade.Machine, e Elsewhere) error {
	if err := forget(m, e); err != nil {
		return fmt.Errorf("forget the second boot file system: %w", err)
	}
	return nil
}

func forget(m *upgrade.Machine, e Elsewhere) error {
	if _, err := Declared(m); err != nil {
		return err
	}
	if err := retire(m, e, uuid.Nil); err != nil {
		return err
	}
	x := &mirror{m: m}
	order, err := x.order()
	if err == nil {
		err = order.ForgetMirror()
	}
	if err != nil {
		return err
	}
	return m.SetMirror(nil)
}
