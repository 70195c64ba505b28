package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image/pack"
)

// checkMachine refuses parts that are for another architecture than the image: a loader that was installed so would
// start nothing.
func (r recipe) checkMachine(p pack.UKIParts) (err error) {
	a, err := arch.Named(r.arch)
	if err != nil && r.grub {
		return fmt.Errorf("--grub makes no GRUB for --arch %s (leave one out): %w", r.arch, err)
	} else if err != nil {
		a = arch.Usual() // for an example of a name
	}
	f, err := os.Open(r.loader)
	if err != nil {
		return fmt.Errorf("--loader: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("--loader: %w", err)
	}
	loader := io.NewSectionReader(f, 0, info.Size())
	if _, err := sdboot.Version(loader, loader.Size()); err != nil {
		return fmt.Errorf("--loader %s: %w (give systemd-boot, as %s)", r.loader, err, a.SystemdBoot())
	}
	if err := r.isFor("loader", r.loader, loader); err != nil {
		return err
	}
	if p.Stub != nil {
		if err := r.isFor("stub", r.stub, p.Stub); err != nil {
			return err
		}
	}
	return r.kernelIsFor(p.Linux)
}

// isFor holds a program for EFI against the image's architecture.
func (r recipe) isFor(flag, path string, f *io.SectionReader) error {
	img, err := uki.Parse(f, f.Size())
	if err != nil {
		return fmt.Errorf("--%s %s: %w", flag, path, err)
	}
	if img.Arch != r.arch {
		return fmt.Errorf("--%s %s: it is for %q, and the image is for %s (give the file for %s, or --arch)", flag,
			path, img.Arch, r.arch, r.arch)
	}
	return nil
}

// kernelIsFor judges a kernel as far as it says what it is for: one that is a program for EFI, and one that
// GRUB starts.
func (r recipe) kernelIsFor(f *io.SectionReader) error {
	if f == nil {
		return nil // it has been said
	}
	if _, err := uki.Parse(f, f.Size()); err == nil {
		return r.isFor("kernel", r.kernel, f)
	}
	if a, err := arch.OfKernel(f); err == nil && a.Name != r.arch {
		return fmt.Errorf("--kernel %s: it is a %s, for %s, and the image is for %s (give the kernel for %s, or --arch)",
			r.kernel, a.Kernel.Format, a.Name, r.arch, r.arch)
	}
	return nil
}
