package upgrade

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
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
	began  time.Time // when META got its record of the install; zero: it was not
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
