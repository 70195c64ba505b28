package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
)

// verify waits until the target has been read back, and looks at what is to be booted.
func (op *writing) verify(ctx context.Context) error {
	if err := op.readBack(ctx); err != nil {
		return err
	}
	if err := op.m.readImages(ctx, op.plan.To, op.images, op.Progress); err != nil {
		return err
	}
	version, err := op.m.fit(op.plan.To, op.img.Arch)
	if err != nil && (!op.Force || errors.Is(err, errReserved)) {
		return err
	}
	if err := op.m.fitLoader(op.plan.To, op.img.Arch); err != nil &&
		(!op.Force || errors.Is(err, bootloader.ErrMachine)) {
		return err
	}
	if err := op.takeVersion(version); err != nil {
		return err
	}
	return op.m.fitEntry(op.plan.To, op.plan.Version)
}

// complete writes the target's manifest. With it on the device the slot is complete, and still nothing refers to it.
func (op *filling) complete(context.Context) error {
	// What boots comes first, whatever order it came in.
	slices.SortStableFunc(op.files, func(a, b bootloader.File) int {
		switch {
		case isOwn(a.Name) == isOwn(b.Name):
			return 0
		case isOwn(a.Name):
			return 1
		}
		return -1
	})
	op.manifest = bootloader.Manifest{
		Version: op.plan.Version, Image: op.plan.Image, Reference: op.plan.Reference, Arch: op.img.Arch,
		Files: op.files, Images: op.images,
	}
	return op.m.complete(op.plan.To, op.manifest)
}

func (m *Machine) complete(s bootloader.Slot, man bootloader.Manifest) error {
	data, err := bootloader.EncodeManifest(man)
	if err != nil {
		return err
	}
	w, err := m.Boot.Create(s.File(bootloader.ManifestFile), int64(len(data)))
	if err != nil {
		return fmt.Errorf("create %s: %w", s.File(bootloader.ManifestFile), err)
	}
	if _, err := w.Write(data); err != nil {
		w.Abort()
		return fmt.Errorf("write %s: %w", s.File(bootloader.ManifestFile), err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", s.File(bootloader.ManifestFile), err)
	}
	return nil
}
