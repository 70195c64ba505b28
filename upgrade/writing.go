package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// disarm takes back whatever is armed, and closes the attempt that armed it.
func (op *operation) disarm(context.Context) error {
	if err := op.m.forgetTry(); err != nil {
		return err
	}
	if err := op.m.Loader.Disarm(); err != nil {
		return err
	}
	old, err := op.m.attempt()
	if err != nil || old == nil || !old.Open() {
		return err
	}
	return op.m.end(old, attempt.Abandoned, "replaced by another attempt before it was booted")
}

// clear makes the target unbootable, then incomplete, then empty but for what is used again.
func (op *writing) clear(ctx context.Context) error {
	op.m.rememberLoader(op.plan.To)
	clear := func() error { return op.m.clear(op.plan.To) }
	if op.leaves() {
		clear = func() error { return op.clearAround(ctx) }
	}
	if err := clear(); err != nil || len(op.images) == 0 {
		return err
	}
	return op.m.Boot.Sync() // what was freed: the partitions that are written next have caches of their own
}

func (m *Machine) clear(s bootloader.Slot) error {
	if err := m.Loader.Withdraw(s); err != nil {
		return fmt.Errorf("withdraw slot %s: %w", s, err)
	}
	if err := m.Boot.Clear(s.Dir()); err != nil {
		return fmt.Errorf("clear slot %s: %w", s, err)
	}
	return nil
}

// write streams the image's files into the target, and returns only after every byte of the image's layers was hashed.
func (op *writing) write(ctx context.Context) error {
	if err := op.take(ctx); err != nil {
		return err
	}
	err := op.source.each(func(a image.Asset, r io.Reader) error {
		return op.file(ctx, a, r)
	})
	if err != nil {
		return err
	}
	if err := errors.Join(op.lacks(), op.lacksImage()); err != nil {
		return err
	}
	return op.prefer()
}

// prefer leaves the UKI alone in the target, where an image that did not say so beforehand has a kernel too.
func (op *filling) prefer() error {
	isUKI := func(f bootloader.File) bool { return f.Name == bootloader.UKIFile }
	if !slices.ContainsFunc(op.files, isUKI) {
		return nil
	}
	var kept []bootloader.File
	for _, f := range op.files {
		if isUKI(f) || isBeside(f.Name) {
			kept = append(kept, f)
			continue
		}
		if err := op.m.Boot.Remove(op.plan.To.File(f.Name)); err != nil {
			return fmt.Errorf("remove what the UKI makes needless: %w", err)
		}
	}
	op.files = kept
	return nil
}

// lacks is the error of an image that was written and lacks a file.
func (op *filling) lacks() error {
	return op.takes.lacks(op.img.Reference, func(asset string) bool {
		return slices.ContainsFunc(op.files, func(f bootloader.File) bool { return f.Name == op.takes[asset] })
	})
}

func (op *operation) tell(e progress.Event) {
	if op.Progress != nil {
		op.Progress(e)
	}
}

// tellWrite tells how far a file has come, and with it the download.
func (op *writing) tellWrite(file string, n, total int64) {
	if op.Progress == nil {
		return
	}
	e := progress.Event{Step: progress.StepWrite, File: file, Bytes: n, Total: total}
	if p := op.source.came.Load(); p != nil {
		if p.Layer != op.fetching {
			op.fetching, op.ofLayer = p.Layer, progress.Pace{}
		}
		now := op.m.now()
		e.Whole = op.whole.Amount(now, p.Fetched, p.Total)
		e.Layer = progress.Layer{Number: p.Layer, Count: p.Layers,
			Amount: op.ofLayer.Amount(now, p.OfLayer, p.LayerTotal)}
	}
	op.Progress(e)
}
