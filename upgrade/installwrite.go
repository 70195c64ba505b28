package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/authenticode"
	"github.com/pawl-os/pawl/bootloader/secureboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/partition/meta"
)

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

// keep reads the loader and its shim out of the slot, which has it too.
func (in *install) keep() error {
	wants := in.Loader.Takes()
	for _, f := range in.op.files {
		asset := map[string]string{wants.OwnFile: wants.Own, bootloader.ShimFile: wants.Shim}[f.Name]
		if asset == "" {
			continue
		}
		data, err := in.op.m.Boot.ReadFile(bootloader.A.File(f.Name))
		if err != nil {
			return err
		}
		in.loader[asset] = data
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
	if shim := in.loader[in.Loader.Takes().Shim]; shim != nil {
		return judge("its shim", bytes.NewReader(shim), int64(len(shim))) // which judges what is behind it
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
