package upgrade

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
)

// foreseen is how much of a UKI is looked at before the target is cleared. What says what it is comes before the kernel
// in it.
const foreseen = 1 << 20

// foresee looks at the beginning of the UKI, so that what can be refused by it is refused while the target still holds
// what it held. first is the file that the download begins with.
func (op *writing) foresee(ctx context.Context, first image.Asset) error {
	for {
		refusal, err := op.refusal(first)
		if err != nil || refusal == nil || op.source.head == nil {
			return cmp.Or(err, refusal)
		}
		// Nothing was verified yet. Bytes that were tampered with are that, whatever else they seem to be; and those
		// that another host sent in their place are looked at.
		given := 0
		err = op.source.each(func(a image.Asset, r io.Reader) error {
			if a.Name == first.Name {
				given++
			}
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if errors.Is(err, image.ErrTampered) {
			return err
		}
		if err != nil || given == 1 {
			return refusal
		}
		op.source.stop()
		op.source = open(ctx, op, op.source.also...)
		if first, err = op.source.first(); err != nil {
			return err
		}
	}
}

// refusal is why the image cannot be taken, by the beginning of its UKI.
func (op *writing) refusal(first image.Asset) (refusal, err error) {
	start, size, err := op.beginning(first)
	if err != nil || size == 0 {
		return nil, err
	}
	version, refusal := fitUKI(start, size, op.img.Arch)
	if refusal == nil || errors.Is(refusal, uki.ErrBeyond) {
		refusal = op.unsigned(start, size)
	}
	if op.Force && !errors.Is(refusal, errReserved) {
		refusal = nil
	}
	if refusal == nil && version != "" {
		refusal = op.takeVersion(version)
	}
	return refusal, nil
}

// unsigned refuses a UKI that has no signature, where this firmware starts none without. One that is signed is judged
// once all of it is there, by the rehearsal before the loader learns of it.
func (op *writing) unsigned(start uki.Beginning, size int64) error {
	if signed, err := authenticode.IsSigned(start, size); err != nil || signed || op.vars == nil {
		return nil // what cannot be read is judged then too
	}
	if err := secureboot.Read(op.vars).Unsigned(); errors.Is(err, secureboot.ErrRefused) {
		return fmt.Errorf("its UKI: %w: %w (sign it with a key that this firmware knows; force tries it all the same)",
			err, ErrUnfit)
	}
	return nil
}

// beginning is the UKI as far as it is known before anything is written: from the download, or from where it is
// already. Its size is 0 where nothing is known.
func (op *writing) beginning(first image.Asset) (start uki.Beginning, size int64, err error) {
	if r, found := op.reuse[format.UKI]; found {
		path := r.path
		if path == "" {
			path = op.plan.To.File(r.File)
		}
		f, err := op.m.Boot.Open(path)
		if err != nil {
			return start, 0, fmt.Errorf("look at %s: %w", path, err)
		}
		return uki.Beginning{ReaderAt: f, Known: r.Bytes}, r.Size, nil
	}
	if first.Name != format.UKI || op.takes[format.UKI] == "" {
		return start, 0, nil
	}
	data, err := op.source.peek(foreseen)
	return uki.Beginning{ReaderAt: bytes.NewReader(data), Known: int64(len(data))}, first.Size, err
}

// takeVersion takes the system's own word for its version: the running system will go by that, so an image that states
// another one could never be confirmed. Where neither states one, the image's digest is taken.
func (op *writing) takeVersion(own string) error {
	switch stated := op.plan.Version; {
	case own == "" && stated == "":
		op.plan.Version = bootloader.DigestVersion(op.plan.Image)
		return nil
	case own == "" || own == stated:
		return nil
	case stated != "":
		op.log.Warn("the image states another version than the system in it, which counts", "image", stated, "system",
			own)
	}
	if err := bootloader.CheckVersion(own); err != nil {
		return fmt.Errorf("the VERSION_ID of the system in it: %w: %w", err, ErrUnfit)
	}
	op.plan.Version = own
	return op.allowed()
}
