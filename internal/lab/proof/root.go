package proof

import (
	"context"
	"fmt"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/internal/harness/virtual"
	"github.com/pawl-os/pawl/partition"
)

// A machine whose versions have their root in a partition of the slot. What boots is a version only with its own root,
// whole, in its own half of the pair.

// rooted names the kit of such machines.
const rooted = loaders.SystemdBoot + "+root"

// rootAsset is the root image in an installer image, and rootSize how long it is in bytes: eight blocks of 512.
const rootAsset, rootSize = "images/" + bootloader.RootImage, 4096

// RootOf is the root of a version.
func RootOf(version string) []byte { return pattern("root of "+version, rootSize) }

// RootedKit makes the machines of [TinyKit] with systemd-boot and a root in a partition.
func RootedKit(ctx context.Context, dir string) (*Kit, error) {
	k, err := newKit(ctx, dir, loaders.SystemdBoot, func(version string) (virtual.Spec, error) {
		return virtual.Spec{Size: payload, Loader: loaderOf(version), Root: RootOf(version)}, nil
	})
	if err != nil {
		return nil, err
	}
	k.Root, k.Size = true, k.Size+2<<20
	plain := k.Partitions
	k.Partitions = func() []partition.Spec {
		return append(plain(), partition.Pair{Image: bootloader.RootImage, Size: 1 << 20}.Specs(nil, "proof")...)
	}
	return k, nil
}

// Name is that of the kit's loader, or of what else its machines are.
func (k *Kit) Name() string {
	if k.Root {
		return rooted
	}
	return k.Loader
}

// half is the label of a slot's half of the pair.
func half(s bootloader.Slot) string { return "ROOT-" + string(s) }

// runs reports whether the latest boot started a system, whole.
func (m *machine) runs(s *system) bool {
	return s.runs(m.last) && m.hasRoot(s) == nil
}

// hasRoot requires that the root of a system, if it has one, is in the half of its slot.
func (m *machine) hasRoot(s *system) error {
	if s == nil || s.root == "" {
		return nil
	}
	p, err := m.part(half(s.slot))
	if err != nil {
		return err
	}
	data := make([]byte, rootSize)
	if _, err := p.ReadAt(data, 0); err != nil {
		return err
	}
	if hash(data) != s.root {
		return fmt.Errorf("%v, and its half has not its root", s)
	}
	return nil
}

// rootedOperations are those of all loaders in which a root is written, or what has one is armed or confirmed.
func rootedOperations(table []operation) []operation {
	return slices.DeleteFunc(table, func(o operation) bool {
		return !slices.Contains([]string{"install", "upgrade", "prepare", "arm", "rollback", "confirm", "settle",
			"upgrade after one that was killed"}, o.name)
	})
}

// listRoot puts the root into the manifest.
func (h *hand) listRoot() error {
	layout, err := partition.Read(h.m.disk)
	if err != nil {
		return err
	}
	p, err := layout.Find(half(h.to))
	if err != nil {
		return err
	}
	h.man.Images = []bootloader.Image{{Name: bootloader.RootImage, Partition: p.GUID, Size: rootSize,
		SHA256: hash(RootOf(h.man.Version))}}
	return nil
}

// image writes the root into the target's half.
func (h *hand) image() error {
	p, err := h.m.part(half(h.to))
	if err != nil {
		return err
	}
	if _, err := p.WriteAt(RootOf(h.man.Version), 0); err != nil {
		return err
	}
	return p.Sync()
}

// rootMutants are orders of the root among the rest.
func rootMutants() []handMutant {
	return []handMutant{
		{name: "the order as it is, with a root", start: targetComplete, zones: slotZones, real: true,
			steps: order("disarm", "withdraw", "clear", "write", "image", "verify", "complete", "prepare", "record",
				"arm")},
		{name: "root written after the manifest", start: targetComplete, zones: slotZones,
			steps: order("disarm", "withdraw", "clear", "write", "verify", "complete", "image", "prepare", "record",
				"arm")},
		{name: "root written before the manifest is gone", start: targetComplete, zones: slotZones,
			steps: order("disarm", "image", "withdraw", "clear", "write", "verify", "complete", "prepare", "record",
				"arm")},
		{name: "root not written", start: targetComplete, zones: slotZones,
			steps: order("disarm", "withdraw", "clear", "write", "verify", "complete", "prepare", "record", "arm")},
		{name: "armed before the root is written", start: targetComplete, zones: slotZones,
			steps: order("disarm", "withdraw", "clear", "write", "verify", "complete", "prepare", "record", "arm",
				"image")},
	}
}
