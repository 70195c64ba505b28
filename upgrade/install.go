package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// InstallOptions are the choices of an install. With nothing but Loader it has the default layout.
type InstallOptions struct {
	Loader     bootloader.Backend // what starts the disk: one of loaders.All, or another. It is required
	Partitions []partition.Spec   // nil: partition.Default. Pairs for the image's file system images are added
	// of the partitions, where they are not those of partition.Default; also what Open is to be told
	Labels   partition.Labels
	Add      Additions
	Force    bool                 // also over what is on the disk, and also an image that looks unfit to boot
	Zero     bool                 // write zeros over the whole disk first
	Vars     efivar.Store         // the firmware's variables of the machine that will boot the disk; nil for a disk image
	DryRun   bool                 // refuse what would be refused, and write nothing
	Seed     string               // makes the disk's identifiers repeatable; empty: random ones
	Progress func(progress.Event) // may be nil
	Log      *slog.Logger         // nil discards
	Now      func() time.Time     // nil is time.Now
}

// Install is the first upgrade: it lays out dev, and writes img into slot A as the default. All on dev is lost. If
// power or a step fails, the disk boots nothing and says so (package unfinished), or slot A when that is complete.
func Install(ctx context.Context, dev Device, img *image.Image, o InstallOptions) error {
	in := &install{dev: dev, img: img, InstallOptions: o, loader: map[string][]byte{}}
	if in.Now == nil {
		in.Now = time.Now
	}
	if in.Log == nil {
		in.Log = slog.New(slog.DiscardHandler)
	}
	if in.Loader == nil {
		return fmt.Errorf("install %s: no loader is given (set Loader; package bootloader/loaders has those of Pawl)",
			img.Reference)
	}
	if err := checkStated(img); err != nil {
		return fmt.Errorf("install %s: %w", img.Reference, err)
	}
	if err := in.check(); err != nil {
		return fmt.Errorf("install %s: %w", img.Reference, err)
	}
	in.op = writing{log: in.Log, vars: in.Vars, filling: filling{img: img, takes: takesFor(in.Loader, img)}}
	in.op.operation = operation{Options: Options{Force: o.Force, Progress: o.Progress}, plan: Plan{
		Kind: attempt.Upgrade, To: bootloader.A, Version: img.Version, Image: img.Digest, Reference: img.Reference,
	}}
	in.op.source = open(ctx, &in.op, in.Loader.Takes().Install...)
	defer func() { in.op.source.stop() }() // find may have replaced it
	defer in.op.stopReading()
	if err := walk(ctx, in.steps(), o.Progress, in.Now); err != nil {
		return fmt.Errorf("install %s: %w", img.Reference, in.failed(err))
	}
	return nil
}

// steps are those of this install.
func (in *install) steps() []step {
	steps := []step{{progress.StepFind, in.find}}
	if in.DryRun {
		return steps
	}
	if in.Zero {
		steps = append(steps, step{progress.StepZero, in.zero})
	}
	steps = append(steps,
		step{progress.StepLayout, in.layout},
		step{progress.StepWrite, in.write},
		step{progress.StepVerify, in.verify},
		step{progress.StepComplete, in.op.complete})
	if in.Add.fills() { // while nothing boots
		steps = append(steps, step{progress.StepFill, in.fill})
	}
	return append(steps, step{progress.StepPrepare, in.prepare}, step{progress.StepConfirm, in.confirm})
}

type install struct {
	InstallOptions
	dev    Device
	img    *image.Image
	plan   partition.Layout
	place  bootloader.Disk
	over   bool      // something is on the disk, and may be lost
	began  time.Time // when META was told of the install; zero: it was not
	op     writing
	loader map[string][]byte // the loader's files, by their names in the image
}

// check refuses a disk in use and makes the layout, before anything is pulled or written.
func (in *install) check() error {
	if err := in.Labels.Check(); err != nil {
		return err
	}
	err := in.checkFree()
	if err != nil {
		return err
	}
	specs := in.Partitions
	if specs == nil {
		specs = partition.Default(partition.Defaults{Seed: in.Seed, Labels: in.Labels})
	}
	specs = withPairs(specs, in.img, in.Labels, in.Seed)
	if in.plan, err = partition.Plan(nil, in.dev.Size(), in.dev.SectorSize(), specs); err != nil {
		return err
	}
	for _, role := range []partition.Role{partition.EFI, partition.Meta} {
		if _, err := in.Labels.Find(in.plan, role); err != nil {
			return err
		}
	}
	if in.place, err = place(in.dev, in.plan, in.Labels); err != nil {
		return err
	}
	if err := in.checkAdditions(); err != nil {
		return err
	}
	return in.Loader.Fits(in.place)
}

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
	c.Direct, c.NoDirect = device.Direct(part)
	return newMachine(c)
}

// write streams the image's files into slot A and keeps the loader for later.
func (in *install) write(ctx context.Context) error {
	err := in.op.source.each(func(a image.Asset, r io.Reader) error {
		if _, isImage := format.ImageName(a.Name); isImage || in.op.takes[a.Name] != "" {
			return in.op.file(ctx, a, r)
		}
		data, err := readAll(a, r)
		in.loader[a.Name] = data
		return err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(in.op.lacks(), in.op.lacksImage()); err != nil {
		return err
	}
	if err := in.op.prefer(); err != nil {
		return err
	}
	if err := in.keep(); err != nil {
		return err
	}
	own := in.Loader.Takes().Own
	return in.lacks(func(asset string) bool {
		return asset != own && in.op.takes[asset] != "" ||
			in.loader[asset] != nil
	})
}

// keep reads the loader out of the slot, which has it too.
func (in *install) keep() error {
	wants := in.Loader.Takes()
	for _, f := range in.op.files {
		if f.Name != wants.OwnFile {
			continue
		}
		data, err := in.op.m.Boot.ReadFile(bootloader.A.File(f.Name))
		if err != nil {
			return err
		}
		in.loader[wants.Own] = data
	}
	return nil
}

// verify reads slot A back, and then adds the kernel arguments.
func (in *install) verify(ctx context.Context) error {
	if err := in.op.verify(ctx); err != nil {
		return err
	}
	if err := in.accepted(); err != nil && !in.Force {
		return err
	}
	return in.arguments(ctx)
}

// accepted refuses what the firmware of this machine is known not to start: the loader, which comes to where firmware
// looks, and the UKI.
func (in *install) accepted() error {
	if in.Vars == nil {
		return nil
	}
	firmware := secureboot.Read(in.Vars)
	if !firmware.Checks() {
		return nil
	}
	judge := func(what string, r io.ReaderAt, size int64) error {
		s, err := authenticode.ReadAt(r, size)
		if errors.Is(err, authenticode.ErrFormat) {
			return nil // a kernel, or GRUB for BIOS, which no firmware checks
		}
		if err == nil {
			err = firmware.Judge(s)
		}
		if err == nil || errors.Is(err, secureboot.ErrUnknown) {
			return nil
		}
		return fmt.Errorf("%s: %w: %w (sign it with a key that this firmware knows; force installs it all the same)",
			what, err, ErrUnfit)
	}
	if own := in.loader[in.Loader.Takes().Own]; own != nil {
		if err := judge("its loader", bytes.NewReader(own), int64(len(own))); err != nil {
			return err
		}
	}
	f, err := in.op.m.Boot.Open(bootloader.A.File(bootloader.UKIFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return judge("its UKI", f, f.Size())
}

// prepare writes the loader and its files, and tells it of slot A.
func (in *install) prepare(context.Context) error {
	if err := in.Loader.Install(in.place, in.op.m.Boot, in.loader); err != nil {
		return err
	}
	return in.op.m.Loader.Prepare(bootloader.A, in.op.manifest, 1)
}

// confirm ends the install.
//
//  1. slot A becomes the default. A cut before: nothing boots, and META says why; after: slot A, and META goes on to say
//     so until Started.
//  2. META forgets the install. A cut: slot A, and META as before or after.
func (in *install) confirm(context.Context) error {
	if err := in.op.m.Loader.Confirm(bootloader.A); err != nil {
		return err
	}
	return in.op.m.meta.Delete(meta.TagInstall)
}
