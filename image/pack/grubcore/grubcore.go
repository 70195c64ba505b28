// Package grubcore makes the parts of GRUB that an installer image carries, with the programs and modules of GRUB that
// are installed here (Debian: grub-common, grub-pc-bin, grub-efi-amd64-bin). It is used when an image is packed, and
// never on the machine that is installed.
//
// Start with Make. The same version of GRUB gives the same bytes, with nothing of one machine inside.
package grubcore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pawl-os/pawl/bootloader/grub"
)

// Dir is where GRUB's modules are, one directory a platform.
const Dir = "/usr/lib/grub"

// Parts are what a machine starts GRUB from.
type Parts struct {
	Boot []byte // BIOS: boot.img
	Core []byte // BIOS: core image
	EFI  []byte // UEFI: EFI image
}

// Make makes all parts for amd64.
func Make(ctx context.Context) (Parts, error) {
	var p Parts
	var err error
	if p.Boot, err = os.ReadFile(filepath.Join(Dir, "i386-pc", "boot.img")); err != nil {
		return Parts{}, fmt.Errorf("make GRUB's parts: %w (install grub-pc-bin)", err)
	}
	if p.Core, err = image(ctx, "i386-pc", append(append([]string{}, grub.Modules...),
		grub.BIOSModules...)); err != nil {
		return Parts{}, fmt.Errorf("make GRUB's parts: %w", err)
	}
	if p.EFI, err = image(ctx, "x86_64-efi", grub.Modules); err != nil {
		return Parts{}, fmt.Errorf("make GRUB's parts: %w", err)
	}
	return p, nil
}

func image(ctx context.Context, platform string, modules []string) (data []byte, err error) {
	f, err := os.CreateTemp("", "grub-") // grub-mkimage flushes its output, so a pipe does not do
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	args := append([]string{"-O", platform, "-d", filepath.Join(Dir, platform), "-p", grub.Prefix, "-o", f.Name()},
		modules...)
	out, err := exec.CommandContext(ctx, "grub-mkimage", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("grub-mkimage for %s: %w: %s (install grub-common and GRUB's modules)", platform, err,
			bytes.TrimSpace(out))
	}
	return os.ReadFile(f.Name())
}
