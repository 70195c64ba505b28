// Package grubcore makes the parts of GRUB that an installer image carries, with the programs and modules of GRUB that
// are installed here (Debian: grub-common, grub-pc-bin, grub-efi-amd64-bin and their like for other architectures). It
// is used when an image is packed, and never on the machine that is installed.
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
	"slices"

	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/image/pack"
)

// Dir is where GRUB's modules are, one directory a platform.
const Dir = "/usr/lib/grub"

// Parts are what a machine starts GRUB from.
type Parts struct {
	Boot []byte // BIOS: boot.img; nil, as Core, where machines have none
	Core []byte // BIOS: core image
	EFI  []byte // UEFI: EFI image
}

// Assets are the parts as an installer image carries them.
func (p Parts) Assets() []pack.Asset {
	assets := []pack.Asset{pack.Data(pack.GRUBEFIAsset, p.EFI)}
	if p.Core != nil {
		assets = append(assets, pack.Data(pack.GRUBBootAsset, p.Boot), pack.Data(pack.GRUBCoreAsset, p.Core))
	}
	return assets
}

// Make makes all parts for an architecture (a GOARCH), of the modules in dir, which is usually Dir. A grub-mkimage in
// dir is taken before the one that is installed.
func Make(ctx context.Context, machine, dir string) (Parts, error) {
	p, err := parts(ctx, machine, dir)
	if err != nil {
		return Parts{}, fmt.Errorf("make GRUB's parts for %s: %w", machine, err)
	}
	return p, nil
}

func parts(ctx context.Context, machine, dir string) (p Parts, err error) {
	a, err := arch.Named(machine)
	if err != nil {
		return Parts{}, err
	}
	if p.EFI, err = image(ctx, dir, a.GRUB, grub.Modules()); err != nil || a.BIOS == "" {
		return p, err
	}
	if p.Boot, err = os.ReadFile(filepath.Join(dir, a.BIOS, "boot.img")); err != nil {
		return Parts{}, fmt.Errorf("%w (install GRUB's modules for a BIOS, grub-pc-bin)", err)
	}
	p.Core, err = image(ctx, dir, a.BIOS, slices.Concat(grub.Modules(), grub.BIOSModules()))
	return p, err
}

func image(ctx context.Context, dir, platform string, modules []string) (data []byte, err error) {
	f, err := os.CreateTemp("", "grub-") // grub-mkimage flushes its output, so a pipe does not do
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	program := filepath.Join(dir, "grub-mkimage") // that of the same version of GRUB
	if _, err := os.Stat(program); err != nil {
		program = "grub-mkimage"
	}
	args := append([]string{"-O", platform, "-d", filepath.Join(dir, platform), "-p", grub.Prefix, "-o", f.Name()},
		modules...)
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("grub-mkimage for %s: %w: %s (install grub-common and GRUB's modules)", platform, err,
			bytes.TrimSpace(out))
	}
	return os.ReadFile(f.Name())
}
