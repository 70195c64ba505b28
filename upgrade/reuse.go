package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
)

// Reuse is a file of the target that need not be downloaded, or not from its beginning.
type Reuse struct {
	File   string          // in the slot's directory
	From   bootloader.Slot // the target: the bytes are there already. The active slot: they are copied from there.
	Bytes  int64           // so many of its Size, from the start on; of Chunks, wherever they are
	Size   int64
	Chunks bool  // pieces of what the active slot has, each found and checked by its digest
	Patch  int64 // bytes of a patch that makes it of what the active slot has

	path string // on the boot file system, when it is copied
}

func (r Reuse) complete() bool { return r.Size > 0 && r.Bytes == r.Size }

// String says what is reused, for people.
func (r Reuse) String() string {
	if r.Patch > 0 {
		return fmt.Sprintf("%s is made of what slot %s has, by a patch of %d bytes", r.File, r.From, r.Patch)
	}
	if r.Chunks {
		return fmt.Sprintf("%d of the %d bytes of %s are copied from slot %s, in chunks", r.Bytes, r.Size, r.File, r.From)
	}
	if r.path != "" {
		return fmt.Sprintf("%s is copied from slot %s, which holds the same", r.File, r.From)
	}
	if r.complete() {
		return fmt.Sprintf("%s is there already", r.File)
	}
	return fmt.Sprintf("%s is taken up at byte %d of %d, where an earlier run ended", r.File, r.Bytes, r.Size)
}

// look finds what need not be downloaded. Whatever it finds was read and compared with the digests that the image
// lists; nothing else is believed, no record of an earlier run neither. It writes nothing.
func (op *writing) look(ctx context.Context) {
	op.reuse = map[string]Reuse{}
	problems, err := op.m.Boot.Check()
	sound := err == nil && !slices.ContainsFunc(problems, func(p bootfs.Problem) bool {
		return strings.HasPrefix(p.Path, op.plan.To.Dir()) // what a cut leaves in the tables has no path
	})
	running, _ := op.m.manifest(op.plan.From) // one that cannot be read has nothing to copy
	for _, a := range op.img.Assets {
		name := op.takes[a.Name]
		if name == "" {
			continue
		}
		r := Reuse{File: name, From: op.plan.To, Size: a.Size}
		if sound {
			r.Bytes = op.held(ctx, op.plan.To.File(name), a)
		}
		for _, f := range running.Files {
			if !r.complete() && f.SHA256 == a.SHA256 && f.Size == a.Size {
				r.From, r.Bytes, r.path = op.plan.From, a.Size, op.plan.From.File(f.Name)
			}
		}
		if r.Bytes > 0 {
			op.reuse[a.Name] = r
			op.plan.Reused = append(op.plan.Reused, r)
		} else if !op.img.Resumable(a) {
			op.plan.Restarts = true
		}
	}
	if op.img.Assets == nil {
		op.plan.Restarts = true
	}
	op.lookForImages(ctx)
	op.lookForChunks(ctx, running)
	op.plan.Fetch = op.img.PullSize(op.pullOptions())
}

// held is how much of an asset a file of the boot file system holds from the start on. What cannot be read is not
// there.
func (op *writing) held(ctx context.Context, path string, a image.Asset) int64 {
	f, err := op.m.Boot.Open(path)
	if err != nil || f.Size() != a.Size {
		return 0
	}
	return op.img.Held(ctx, a, f)
}

// pullOptions leave out what is there. The files of a slot are compared with their digests when they are read back.
func (op *writing) pullOptions(also ...string) image.PullOptions {
	isAlso := func(a image.Asset) bool {
		for _, name := range also {
			if a.Name == name {
				return true
			}
		}
		return false
	}
	return image.PullOptions{
		Want: func(a image.Asset) bool {
			_, isImage := format.ImageName(a.Name)
			return isAlso(a) || (isImage || op.takes[a.Name] != "") && !op.reuse[a.Name].complete()
		},
		ReadBack: func(a image.Asset) bool { return op.takes[a.Name] != "" && !isAlso(a) },
		From: func(a image.Asset) int64 {
			return op.reuse[a.Name].Bytes
		},
		Delta: op.delta,
	}
}

// nothingToFetch tells that every file that the slot needs to boot is there: the loader itself may be missing.
func (op *writing) nothingToFetch() bool {
	for _, a := range op.img.Assets {
		name := op.takes[a.Name]
		_, isImage := format.ImageName(a.Name)
		if (isImage || name != "" && !isOwn(name)) && !op.reuse[a.Name].complete() {
			return false
		}
	}
	return len(op.reuse) > 0
}

// leaves tells that a file of the target stays where it is.
func (op *writing) leaves() bool {
	for asset, r := range op.reuse {
		if r.path == "" && op.takes[asset] != "" {
			return true
		}
	}
	return false
}

// clearAround makes the target unbootable, then incomplete, then removes all but the files that are used again. What
// cannot be removed by itself makes it clear all, and all is fetched.
func (op *writing) clearAround(ctx context.Context) error {
	keep := map[string]bool{}
	s := op.plan.To
	for _, r := range op.reuse {
		if info, err := op.m.Boot.Stat(s.File(r.File)); err == nil && r.path == "" {
			keep[info.Name] = true // as the directory spells it: other tools write names in upper case
		}
	}
	if err := op.m.Loader.Withdraw(s); err != nil {
		return fmt.Errorf("withdraw slot %s: %w", s, err)
	}
	err := op.m.Boot.Remove(s.File(bootloader.ManifestFile))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = op.removeOthers(keep)
	}
	if err == nil {
		return nil
	}
	op.source.stop()
	op.reuse, op.plan.Reused = nil, nil
	op.source = open(ctx, op)
	return op.m.clear(s)
}

func (op *writing) removeOthers(keep map[string]bool) error {
	s := op.plan.To
	entries, err := op.m.Boot.ReadDir(s.Dir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if keep[e.Name] {
			continue
		}
		if err := op.m.Boot.Remove(s.File(e.Name)); err != nil {
			return err
		}
	}
	return nil
}
