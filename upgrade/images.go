package upgrade

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/google/uuid"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/image/verity"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/direct"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// halves are the partitions of a disk that images of the slots are in.
type halves struct {
	layout partition.Layout
	labels partition.Labels
	open   opener
	opened map[partition.Role]Device
}

// find is the half of a slot for an image, as the disk's table has it.
func (h *halves) find(name string, s bootloader.Slot) (partition.Partition, error) {
	return h.labels.Find(h.layout, partition.Half(name, string(s)))
}

// device opens that half, once. On a real disk that is the partition alone, exclusively: one that is mounted, or that
// dm-verity has, is partition.ErrBusy.
func (h *halves) device(name string, s bootloader.Slot) (Device, error) {
	role := partition.Half(name, string(s))
	if d := h.opened[role]; d != nil {
		return d, nil
	}
	d, err := h.open(role)
	if err != nil {
		return nil, err
	}
	if h.opened == nil {
		h.opened = map[partition.Role]Device{}
	}
	h.opened[role] = d
	return d, nil
}

// place is where an image of that name and size goes in slot s. Both halves must hold it: the next version goes into
// the other one.
func (h *halves) place(name string, size int64, s bootloader.Slot) (partition.Partition, error) {
	var into partition.Partition
	for _, slot := range bootloader.Slots() {
		p, err := h.find(name, slot)
		if err != nil {
			return into, fmt.Errorf("image %s needs a pair of partitions, %s and %s: %w: %w (an install makes it, and on a "+
				"disk with free space \"installer disk add\")",
				name, h.labels.Of(partition.Half(name, "A")), h.labels.Of(partition.Half(name, "B")), err, ErrDoesNotFit)
		}
		if has := h.layout.Bytes(p); slot == s && size > has {
			return into, fmt.Errorf("image %s has %d bytes, %v %d: %w", name, size, p, has, ErrDoesNotFit)
		}
		if slot == s {
			into = p
		}
	}
	return into, nil
}

// check refuses what the manifest of slot s says of images and what the disk's table contradicts.
func (h *halves) check(s bootloader.Slot, man bootloader.Manifest) error {
	for _, i := range man.Images {
		p, err := h.find(i.Name, s)
		switch {
		case err != nil:
			return fmt.Errorf("image %s: %w", i.Name, err)
		case p.GUID != i.Partition:
			return fmt.Errorf("image %s is in partition %s, and slot %s has %s for it", i.Name, i.Partition, s, p.GUID)
		case i.Size > h.layout.Bytes(p):
			return fmt.Errorf("image %s has %d bytes, %v %d", i.Name, i.Size, p, h.layout.Bytes(p))
		}
	}
	return nil
}

// placeImages says which images the target will have, and refuses those that have no place.
func (op *filling) placeImages(h *halves) error {
	op.images = nil
	for _, a := range op.img.Assets {
		name, ok := format.ImageName(a.Name)
		if !ok {
			continue
		}
		if err := bootloader.CheckImageName(name); err != nil {
			return fmt.Errorf("%s: %w: %w", a.Name, err, ErrUnfit)
		}
		if len(op.images) == bootloader.MaxImages {
			return fmt.Errorf("more than %d file system images: %w", bootloader.MaxImages, ErrUnfit)
		}
		p, err := h.place(name, a.Size, op.plan.To)
		if err != nil {
			return err
		}
		op.images = append(op.images, bootloader.Image{Name: name, Partition: p.GUID, Size: a.Size, SHA256: a.SHA256,
			Verity: a.Verity})
	}
	return nil
}

// apartFromRunning refuses to write an image where the running slot has one: labels that were told wrong, or changed.
func (op *filling) apartFromRunning() error {
	if len(op.images) == 0 {
		return nil
	}
	// The manifest alone counts: a file that is gone does not free a partition.
	data, err := op.m.Boot.ReadFile(op.plan.From.File(bootloader.ManifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it names no partition
	}
	running := bootloader.Manifest{}
	if err == nil {
		running, err = bootloader.DecodeManifest(data)
	}
	if err != nil {
		return fmt.Errorf("look where the images of slot %s are, which runs: %w", op.plan.From, err)
	}
	for _, i := range op.images {
		for _, r := range running.Images {
			if r.Partition == i.Partition {
				return fmt.Errorf("image %s would go into partition %s, where slot %s, which runs, has its %s (mend the labels "+
					"of the pair)", i.Name, i.Partition, op.plan.From, r.Name)
			}
		}
	}
	return nil
}

// withPairs are the partitions of a new disk, and pairs for the image's own images where there are none, in front of
// the partition that takes the rest. Each half has half as much again as the image has now, and at least 64 MiB more: a
// pair cannot grow.
func withPairs(specs []partition.Spec, img *image.Image, labels partition.Labels, seed string) []partition.Spec {
	at := slices.IndexFunc(specs, func(s partition.Spec) bool { return s.Size == 0 })
	if at < 0 {
		at = len(specs)
	}
	for _, a := range img.Assets {
		name, ok := format.ImageName(a.Name)
		if !ok {
			continue
		}
		pair := partition.Pair{Image: name, Size: a.Size + max(a.Size/2, 64<<20)}
		if known, err := arch.Named(img.Arch); err == nil {
			pair.Type, _ = uuid.Parse(known.Partitions[name]) // zero where the architecture has no type for it
		}
		for _, s := range pair.Specs(labels, seed) {
			if !slices.ContainsFunc(specs, func(o partition.Spec) bool { return o.Label == s.Label }) {
				specs = slices.Insert(slices.Clone(specs), at, s)
				at++
			}
		}
	}
	return specs
}

// An image is flushed after so many bytes, so that memory does not fill with what waits to be written, and so that a
// power cut leaves what came before.
const flushImage = 1 << 20

// imageFile writes an image into the target's half of its pair, from where an earlier run ended, and flushes it.
// Nothing refers to those bytes until the target's manifest is written.
func (op *writing) imageFile(ctx context.Context, a image.Asset, from io.Reader) error {
	name, _ := format.ImageName(a.Name)
	n := slices.IndexFunc(op.images, func(i bootloader.Image) bool { return i.Name == name })
	if n < 0 {
		return fmt.Errorf("%s: a file system image that the installer image does not list beforehand: %w", a.Name, ErrUnfit)
	}
	dev, err := op.m.halves.device(name, op.plan.To)
	if err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	start := op.reuse[a.Name].Bytes
	in := &meter{ctx, from, func(n int64) { op.tellWrite(a.Name, n, a.Size) }, start}
	buffer := direct.Buffer(int(min(1<<20, (a.Size+direct.Align-1)/direct.Align*direct.Align)))
	for at := start; at < a.Size; {
		p := buffer[:min(int64(len(buffer)), a.Size-at)]
		if _, err := io.ReadFull(in, p); err != nil {
			return fmt.Errorf("write image %s: %w", name, err)
		}
		if _, err := dev.WriteAt(p, at); err != nil {
			return fmt.Errorf("write image %s: %w", name, err)
		}
		if at += int64(len(p)); at%flushImage == 0 && at < a.Size {
			if err := dev.Sync(); err != nil {
				return fmt.Errorf("write image %s: flush: %w", name, err)
			}
		}
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("write image %s: flush: %w", name, err)
	}
	op.written = append(op.written, name)
	return nil
}

// lacksImage is the error of an image that was listed and did not come.
func (op *writing) lacksImage() error {
	for _, i := range op.images {
		if !slices.Contains(op.written, i.Name) {
			return fmt.Errorf("%s: %s%s is listed and not in it: %w", op.img.Reference, format.Images, i.Name,
				image.ErrNoAssets)
		}
	}
	return nil
}

// readImages reads images of a slot back from the device and compares their digests; of one with a hash tree, also that
// the tree is there and begins as its root hash says. tell may be nil.
func (m *Machine) readImages(ctx context.Context, s bootloader.Slot, images []bootloader.Image,
	tell func(progress.Event),
) error {
	for _, i := range images {
		dev, err := m.halves.device(i.Name, s)
		if err != nil {
			return fmt.Errorf("read image %s back: %w", i.Name, err)
		}
		var from io.ReaderAt = dev
		if d, err := device.Direct(dev); err == nil {
			from = d
		} else if err := device.DropCache(dev); err != nil {
			return fmt.Errorf("read image %s back: drop cached pages: %w", i.Name, err)
		}
		if err := readImage(ctx, from, i, tell); err != nil {
			return fmt.Errorf("read image %s back: %w", i.Name, err)
		}
	}
	return nil
}

func readImage(ctx context.Context, from io.ReaderAt, i bootloader.Image, tell func(progress.Event)) error {
	h := sha256.New()
	in := &meter{ctx, io.NewSectionReader(from, 0, i.Size), func(n int64) {
		if tell != nil {
			tell(progress.Event{Step: progress.StepVerify, File: format.Images + i.Name, Bytes: n, Total: i.Size})
		}
	}, 0}
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{in}, direct.Buffer(1<<20))
	if err != nil {
		return err
	}
	if got := sum(h); n != i.Size || got != i.SHA256 {
		return fmt.Errorf("%d bytes with SHA-256 %s, written were %d with %s; %w", n, got, i.Size, i.SHA256, errDiffers)
	}
	if i.Verity == "" {
		return nil
	}
	root, err := verity.ParseHash(i.Verity)
	if err != nil {
		return err
	}
	tree, err := verity.OpenImage(from, i.Size, root)
	if err == nil {
		_, err = tree.ReadAt(make([]byte, 1), 0)
	}
	if errors.Is(err, verity.ErrFormat) || errors.Is(err, verity.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", err, ErrUnfit) // the bytes are those of the installer image
	}
	return err
}
