package upgrade

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
)

// take puts the files that are not fetched into the target.
func (op *writing) take(ctx context.Context) error {
	for _, a := range op.img.Assets {
		r, ok := op.reuse[a.Name]
		if !ok || !r.complete() {
			continue
		}
		if name, isImage := format.ImageName(a.Name); isImage {
			op.written = append(op.written, name)
			continue
		}
		if r.path == "" {
			op.files = append(op.files, bootloader.File{Name: r.File, Size: a.Size, SHA256: a.SHA256})
			continue
		}
		in, err := op.m.Boot.Open(r.path)
		if err != nil {
			return fmt.Errorf("copy %s: %w", r.path, err)
		}
		if err := op.file(ctx, a, in); err != nil {
			return err
		}
	}
	return nil
}

// After so many bytes a file is flushed while it is written; twice as many may be written and not yet durable.
const (
	flushEvery = 1 << 20 // of one that can be taken up later
	flushOther = 8 << 20 // of another, only so that it can be read back beside
)

// writer opens the file that asset a becomes, where its content goes on, and tells whether what is written may be taken
// up later. Otherwise its directory entry comes last, so that a cut leaves no file or a whole one.
func (op *writing) writer(a image.Asset) (w *bootfs.Writer, resumable bool, err error) {
	path := op.plan.To.File(op.takes[a.Name])
	r, found := op.reuse[a.Name]
	if !op.img.Resumable(a) || r.path != "" {
		w, err = op.m.Boot.Create(path, a.Size)
		return w, false, err
	}
	if !found {
		if err := op.m.Boot.Allocate(path, a.Size); err != nil {
			return nil, false, err
		}
	}
	w, err = op.m.Boot.Fill(path, r.Bytes)
	return w, true, err
}

// drop removes what was written of a file that is given once more: another host had to be asked for its bytes. What was
// there before the download is right, and stays.
func (op *writing) drop(a image.Asset) error {
	name := op.takes[a.Name]
	if op.begun == nil {
		op.begun = map[string]bool{}
	}
	if !op.begun[name] {
		op.begun[name] = true
		return nil
	}
	if b := op.beside[name]; b != nil {
		b.stop()
		delete(op.beside, name)
	}
	op.files = slices.DeleteFunc(op.files, func(f bootloader.File) bool { return f.Name == name })
	if _, found := op.reuse[a.Name]; found {
		return nil
	}
	err := op.m.Boot.Remove(op.plan.To.File(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// file writes one file of the target, from in, which has what is not there yet.
func (op *writing) file(ctx context.Context, a image.Asset, from io.Reader) error {
	if _, isImage := format.ImageName(a.Name); isImage {
		return op.imageFile(ctx, a, from)
	}
	name := op.takes[a.Name]
	if isOwn(name) {
		if err := small(a); err != nil {
			return err
		}
	}
	path := op.plan.To.File(name)
	if err := op.drop(a); err != nil {
		return fmt.Errorf("write %s anew: %w", path, err)
	}
	w, resumable, err := op.writer(a)
	if errors.Is(err, bootfs.ErrFull) {
		err = fmt.Errorf("%w: %w", err, ErrDoesNotFit)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	h, digest := sha256.New(), a.SHA256
	if digest == "" {
		from = io.TeeReader(from, h)
	}
	every := int64(flushOther)
	if resumable {
		every = flushEvery
	}
	op.follow(ctx, name, w, every)
	in := &meter{ctx, from, func(n int64) {
		op.tellWrite(name, n, a.Size)
	}, w.Written()}
	if _, err := w.ReadFrom(in); err != nil {
		w.Abort()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if digest == "" {
		digest = sum(h)
	}
	if b := op.beside[name]; b != nil {
		b.upTo(a.Size)
	}
	op.files = append(op.files, bootloader.File{Name: name, Size: a.Size, SHA256: digest})
	return nil
}
