package upgrade

import (
	"cmp"
	"context"
	"io"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/partition"
)

// lookForImages finds what of the images the target's halves hold from an earlier run. Like files they are written from
// the start on and nothing is believed but bytes that have the right digest: an image that is there in part is taken
// up, and what is behind is written over.
func (op *writing) lookForImages(ctx context.Context) {
	for _, a := range op.img.Assets {
		name, ok := format.ImageName(a.Name)
		if !ok {
			continue
		}
		r := Reuse{File: a.Name, From: op.plan.To, Size: a.Size}
		if half, err := op.m.halves.section(op.m.Disk, name, op.plan.To); err == nil {
			r.Bytes = op.img.Held(ctx, a, io.NewSectionReader(half, 0, a.Size))
		}
		if r.Bytes > 0 {
			op.reuse[a.Name] = r
			op.plan.Reused = append(op.plan.Reused, r)
		} else if !op.img.Resumable(a) {
			op.plan.Restarts = true
		}
	}
}

// lookForChunks finds what of the assets that are downloaded the active slot has: a whole old one, for which the image
// has a patch, or pieces, in its files and in its images, wherever in them. The target's own old content is no source:
// it is written over while the new one arrives.
func (op *writing) lookForChunks(ctx context.Context, running bootloader.Manifest) {
	var from []image.Local
	for _, i := range running.Images {
		if half, err := op.m.halves.section(op.m.Disk, i.Name, op.plan.From); err == nil {
			from = append(from, image.Local{ReaderAt: half, Size: i.Size})
		}
	}
	for _, f := range running.Files {
		if in, err := op.m.Boot.Open(op.plan.From.File(f.Name)); err == nil {
			from = append(from, image.Local{ReaderAt: in, Size: in.Size()})
		}
	}
	o := op.pullOptions()
	var err error
	if op.delta, err = op.img.Delta(ctx, o, from); err != nil {
		return // the context is done: whatever comes next says so
	}
	op.plan.Whole = cmp.Or(op.delta.Whole, op.delta.Unpatched)
	o.Delta = op.delta
	for _, a := range op.img.Assets {
		taken, ok := op.img.Taken(a, o)
		if !ok || op.reuse[a.Name].complete() {
			continue
		}
		name := op.takes[a.Name]
		if name == "" {
			name = a.Name
		}
		op.plan.Reused = append(op.plan.Reused, Reuse{File: name, From: op.plan.From, Bytes: taken.Bytes, Size: a.Size,
			Chunks: taken.Patch == 0, Patch: taken.Patch})
		op.plan.Requests += taken.Requests
	}
}

// section is a slot's half for an image as a part of the disk: for reading, also while the half is in use.
func (h *halves) section(disk Device, name string, s bootloader.Slot) (Device, error) {
	return within(disk, h.layout, h.labels)(partition.Half(name, string(s)))
}
