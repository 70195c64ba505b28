package upgrade

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

// find waits for the first file of the image, and refuses an image that is too large or lacks a file, while the disk is
// untouched. What an image does not say beforehand is found while it is written.
func (in *install) find(ctx context.Context) error {
	boot, err := in.Labels.Find(in.plan, partition.EFI)
	if err != nil {
		return err
	}
	half, err := bootfs.Half(in.plan.Bytes(boot), in.dev.SectorSize(), bootloader.Zones())
	if err != nil {
		return err
	}
	// So that the next version has room beside it.
	in.op.plan.Room = half - manifestRoom - filesRoom(in.Add.Files)/2
	first, err := in.op.source.first()
	if err != nil {
		return err
	}
	assets := in.img.Assets
	if assets == nil {
		assets = []image.Asset{first}
	}
	var bytes int64
	has := map[string]bool{}
	for _, a := range assets {
		has[a.Name] = true
		if in.op.takes[a.Name] != "" {
			bytes += a.Size
		}
	}
	if in.img.Assets != nil {
		if err := in.lacks(func(asset string) bool { return has[asset] }); err != nil {
			return err
		}
	}
	if err := in.op.fits(bytes); err != nil {
		return err
	}
	if err := in.op.placeImages(&halves{layout: in.plan, labels: in.Labels}); err != nil {
		return err
	}
	return in.op.foresee(ctx, first)
}

// lacks is the error of an image without a file that an install needs.
func (in *install) lacks(has func(asset string) bool) error {
	if err := in.op.takes.lacks(in.img.Reference, has); err != nil {
		return err
	}
	for _, asset := range in.Loader.Takes().Install {
		if !has(asset) {
			return fmt.Errorf("%s: no %s in it, which a new disk needs: %w", in.img.Reference, asset, image.ErrNoAssets)
		}
	}
	return nil
}

// layout wipes what is lost, makes the parts of the disk, and opens the machine on them.
//
//  1. where the partitions will be, and then the table that is there. A cut: what was there, as far as it is left, or a
//     disk without a table.
//  2. META, which says that an install has begun. A cut: a disk without a table.
//  3. the partition table. A cut: the same, or a disk that boots nothing and whose META says why.
//  4. an empty boot file system. A cut: boots nothing, and META says why.
func (in *install) layout(context.Context) error {
	if in.Seed != "" {
		in.plan.GUID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(in.Seed))
	}
	// Before there is a table: what the places of its partitions held in a former life, known or not, would be found in
	// them.
	for _, p := range in.plan.Partitions {
		if err := partition.Wipe(partition.Section(in.dev, p)); err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
	}
	if in.over { // or the table that is there would be kept
		if err := partition.Wipe(in.dev); err != nil {
			return err
		}
	}
	if err := in.begin(); err != nil {
		return err
	}
	if err := partition.Apply(in.dev, in.plan); err != nil {
		return err
	}
	if err := partition.Verify(in.dev, in.plan); err != nil {
		return err
	}
	esp, err1 := in.Labels.Find(in.plan, partition.EFI)
	state, err2 := in.Labels.Find(in.plan, partition.Meta)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	part, record := partition.Section(in.dev, esp), partition.Section(in.dev, state)
	volume := uuid.NewSHA1(esp.GUID, []byte("volume"))
	err := bootfs.Format(part, bootfs.FormatOptions{Label: "EFI", VolumeID: uint32(volume.ID()), Time: in.Now()})
	if err != nil {
		return err
	}
	m, err := in.machine(part, record)
	if err != nil {
		return err
	}
	in.op.m = m
	for _, s := range bootloader.Slots() {
		if err := m.Boot.Mkdir(s.Dir()); err != nil {
			return err
		}
	}
	return nil
}

func (in *install) machine(part, record Device) (*Machine, error) {
	boot, err := bootfs.Open(part, bootfs.Options{Zones: bootloader.Zones(), Now: in.Now})
	if err != nil {
		return nil, err
	}
	loader, err := in.Loader.Open(bootloader.Config{Disk: in.place, FS: boot, Vars: in.Vars, Idle: true,
		Gone: gone(in.dev, in.Vars)})
	if err != nil {
		return nil, err
	}
	c := config{OpenOptions: OpenOptions{Log: in.Log, Now: in.Now}, Boot: boot, backend: in.Loader, Loader: loader,
		Meta: record, halves: &halves{layout: in.plan, labels: in.Labels, open: within(in.dev, in.plan, in.Labels)}}
	if d, ok := in.dev.(device.Cached); ok {
		c.DropCache = d.DropCache
	}
	if c.whole = device.IsWhole(part); c.whole {
		c.Direct = part
	} else {
		c.Direct, c.NoDirect = device.Direct(part)
	}
	return newMachine(c)
}
