package upgrade

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/image/format"
	"github.com/pawl-os/pawl/partition"
)

// assetOf is the file of an installer image that becomes a file of a slot. Those that a loader from outside has beside
// the usual ones have one name in both.
func assetOf(file string) string {
	switch file {
	case bootloader.UKIFile:
		return format.UKI
	case bootloader.KernelFile:
		return format.Kernel
	case bootloader.InitrdFile:
		return format.Initrd
	case bootloader.CmdlineFile:
		return format.Cmdline
	}
	return file
}

// takes maps the files of an installer image to those of a slot.
type takes map[string]string

// takesFor is what slots have for a loader. Where that may be either kind of system and the image says beforehand what
// it has, it is the UKI if there is one, and else the kernel and its initramfs. The loader itself comes beside.
func takesFor(b bootloader.Backend, img *image.Image) takes {
	wants, t := b.Takes(), takes{}
	for _, name := range wants.Slot {
		t[assetOf(name)] = name
	}
	if t.either() && img.Assets != nil {
		has := func(asset string) bool {
			return slices.ContainsFunc(img.Assets, func(a image.Asset) bool { return a.Name == asset })
		}
		if has(format.UKI) || !has(format.Kernel) {
			t = takes{format.UKI: bootloader.UKIFile}
		} else {
			delete(t, format.UKI)
		}
	}
	if wants.OwnFile != "" {
		t[wants.Own] = wants.OwnFile
	}
	if wants.Shim != "" {
		t[wants.Shim] = bootloader.ShimFile
	}
	return t
}

// tryBy chooses how the loader tries a slot from now on; "" is the machine's usual way.
func (m *Machine) tryBy(way string) error {
	way = cmp.Or(way, m.Way)
	if l, ok := m.Loader.(bootloader.WayChooser); ok {
		return l.TryBy(way)
	}
	if way != "" {
		return fmt.Errorf("try by %q: this machine's loader knows one way only; leave it to the loader", way)
	}
	return nil
}

// wayOf is the way of trying of that name, and the loader's usual one; "" is the machine's usual way.
func (m *Machine) wayOf(name string) (way, usual bootloader.Way) {
	name = cmp.Or(name, m.Way)
	for i, w := range m.backend.Ways() {
		if i == 0 {
			usual = w
		}
		if w.Name == name {
			way = w
		}
	}
	return way, usual
}

// either reports whether a slot may have a UKI or a kernel by itself.
func (t takes) either() bool { return t[format.UKI] != "" && t[format.Kernel] != "" }

// isBeside reports whether a file of a slot is none that the slot needs to boot.
func isBeside(file string) bool { return isOwn(file) || file == bootloader.ShimFile }

// isOwn reports whether a file of a slot is the loader itself.
func isOwn(file string) bool { return file == bootloader.LoaderFile || file == bootloader.CoreFile }

// lacks is the error of an image without a file that a slot needs, has being the names of those that it has.
func (t takes) lacks(reference string, has func(asset string) bool) error {
	if t.either() && has(format.UKI) {
		return nil
	}
	for _, asset := range slices.Sorted(maps.Keys(t)) {
		switch {
		case asset == format.Cmdline || isBeside(t[asset]) || has(asset):
		case t.either() && asset == format.UKI:
		case t.either() && !has(format.Kernel):
			return fmt.Errorf("%s: neither %s nor %s with %s in it: %w", reference, format.UKI, format.Kernel,
				format.Initrd, image.ErrNoAssets)
		default:
			return fmt.Errorf("%s: no %s in it: %w", reference, asset, image.ErrNoAssets)
		}
	}
	return nil
}

// place says where the partitions lie that a loader knows of. There need not be one for GRUB on BIOS.
func place(disk Device, layout partition.Layout, labels partition.Labels) (bootloader.Disk, error) {
	d := bootloader.Disk{Device: disk}
	boot, err := labels.Find(layout, partition.EFI)
	if err == nil {
		d.Boot, err = drive(boot)
	}
	if err != nil {
		return d, err
	}
	if bios, err := labels.Find(layout, partition.BIOS); err == nil {
		if d.BIOS, err = drive(bios); err != nil {
			return d, err
		}
	}
	return d, nil
}

// drive says where a partition lies, as firmware names it.
func drive(p partition.Partition) (efivar.HardDrive, error) {
	guid, err := efivar.ParseGUID(p.GUID.String())
	return efivar.HardDrive{Number: uint32(p.Number), First: uint64(p.First), Sectors: uint64(p.Sectors), GUID: guid},
		err
}

// small refuses a file of the loader that is larger than any loader is.
func small(a image.Asset) error {
	if a.Size > bootloader.MaxLoader {
		return fmt.Errorf("%s has %d bytes, more than %d: %w", a.Name, a.Size, bootloader.MaxLoader, ErrUnfit)
	}
	return nil
}

// readAll reads one of the loader's files, which are small.
func readAll(a image.Asset, r io.Reader) ([]byte, error) {
	if err := small(a); err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
