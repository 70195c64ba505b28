package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/bootloader/grub"
	"github.com/pawl-os/pawl/bootloader/sdboot"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/partition"
)

// Loader names what starts a disk that is installed.
type Loader string

// The loaders.
const (
	SystemdBoot Loader = "systemd-boot" // UEFI; a slot is a UKI, or a kernel and an initramfs
	GRUBBIOS    Loader = "grub-bios"    // GRUB on BIOS; a slot is a kernel and an initramfs
	GRUBUEFI    Loader = "grub-uefi"    // GRUB on UEFI; the same slots
)

// Loaders lists them.
var Loaders = []Loader{SystemdBoot, GRUBBIOS, GRUBUEFI}

// ParseLoader reads the name of a loader; "" is SystemdBoot.
func ParseLoader(name string) (Loader, error) {
	if name == "" {
		return SystemdBoot, nil
	}
	if l := Loader(name); slices.Contains(Loaders, l) {
		return l, nil
	}
	return "", fmt.Errorf("loader %q: want one of %v", name, Loaders)
}

// Files of an installer image, as package image/pack names them.
const (
	ukiAsset     = "vmlinuz.efi"
	kernelAsset  = "vmlinuz"
	initrdAsset  = "initramfs.xz"
	cmdlineAsset = "cmdline"

	systemdBootAsset = "systemd-boot.efi"
	grubBootAsset    = "grub-boot.img"
	grubCoreAsset    = "grub-core.img"
	grubEFIAsset     = "grub.efi"
)

// assetOf says which file of an installer image becomes which file of a slot.
var assetOf = map[string]string{
	bootloader.UKIFile: ukiAsset, bootloader.KernelFile: kernelAsset, bootloader.InitrdFile: initrdAsset, bootloader.CmdlineFile: cmdlineAsset,
}

// own is the file of an installer image that holds the loader itself, and the file of a slot that it becomes.
func (l Loader) own() (asset, file string) {
	switch l {
	case SystemdBoot:
		return systemdBootAsset, bootloader.LoaderFile
	case GRUBUEFI:
		return grubEFIAsset, bootloader.LoaderFile
	case GRUBBIOS:
		return grubCoreAsset, bootloader.CoreFile
	}
	return "", ""
}

// kindOf names the loader of a machine; "" when it is none that this package installs.
func kindOf(l bootloader.Bootloader) Loader {
	switch l := l.(type) {
	case *sdboot.Loader:
		return SystemdBoot
	case *grub.Loader:
		if l.UEFI() {
			return GRUBUEFI
		}
		return GRUBBIOS
	}
	return ""
}

// takes maps the files of an installer image to those of a slot.
type takes map[string]string

// takesFor is what slots have for a loader: what it says in SlotFiles, or else a UKI. Where that may be either kind of
// system and the image says beforehand what it has, it is the UKI if there is one, and else the kernel and its initramfs.
func takesFor(l bootloader.Bootloader, img *image.Image) takes {
	names := []string{bootloader.UKIFile}
	if says, ok := l.(interface{ SlotFiles() []string }); ok {
		names = says.SlotFiles()
	}
	t := takes{}
	for _, name := range names {
		t[assetOf[name]] = name
	}
	if !t.either() || img.Assets == nil {
		return t
	}
	has := func(asset string) bool {
		return slices.ContainsFunc(img.Assets, func(a image.Asset) bool { return a.Name == asset })
	}
	if has(ukiAsset) || !has(kernelAsset) {
		return takes{ukiAsset: bootloader.UKIFile}
	}
	delete(t, ukiAsset)
	return t
}

// CheckTrial refuses what is no way of trying a version: see Options.Trial.
func CheckTrial(way string) error {
	if way != "" && !slices.Contains(sdboot.Ways, sdboot.Way(way)) {
		return fmt.Errorf("trial %q: want one of %v", way, sdboot.Ways)
	}
	return nil
}

// tryBy chooses how the loader tries a slot from now on; "" is the machine's usual way.
func (m *Machine) tryBy(way string) error {
	way = cmp.Or(way, m.Trial)
	if l, ok := m.Loader.(interface{ TryBy(way string) error }); ok {
		return l.TryBy(way)
	}
	if way != "" {
		return fmt.Errorf("try by %q: this machine's loader knows one way only; leave it to the loader", way)
	}
	return nil
}

// either reports whether a slot may have a UKI or a kernel by itself.
func (t takes) either() bool { return t[ukiAsset] != "" && t[kernelAsset] != "" }

// with adds the loader itself.
func (t takes) with(kind Loader) takes {
	if asset, file := kind.own(); file != "" {
		t[asset] = file
	}
	return t
}

// isOwn reports whether a file of a slot is the loader itself, which no slot needs to boot.
func isOwn(file string) bool { return file == bootloader.LoaderFile || file == bootloader.CoreFile }

// lacks is the error of an image without a file that a slot needs, has being the names of those that it has.
func (t takes) lacks(reference string, has func(asset string) bool) error {
	if t.either() && has(ukiAsset) {
		return nil
	}
	for _, asset := range slices.Sorted(maps.Keys(t)) {
		switch {
		case asset == cmdlineAsset || isOwn(t[asset]) || has(asset):
		case t.either() && asset == ukiAsset:
		case t.either() && !has(kernelAsset):
			return fmt.Errorf("%s: neither %s nor %s with %s in it: %w", reference, ukiAsset, kernelAsset, initrdAsset, image.ErrNoAssets)
		default:
			return fmt.Errorf("%s: no %s in it: %w", reference, asset, image.ErrNoAssets)
		}
	}
	return nil
}

// probe finds the loader of a disk by the files that each keeps.
func probe(boot *bootfs.FS) (Loader, error) {
	signs := []struct {
		loader Loader
		path   string
	}{{SystemdBoot, "loader/loader.conf"}, {GRUBUEFI, "grub/grub.cfg"}}
	var found []Loader
	var looked []string
	for _, s := range signs {
		looked = append(looked, s.path)
		_, err := boot.Stat(s.path)
		if err == nil {
			found = append(found, s.loader)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the loader: %w", err)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("find the loader: %s are not there, the boot file system has %s: %w", strings.Join(looked, " and "), listing(boot), bootloader.ErrNotFound)
	}
	return "", fmt.Errorf("find the loader: %s are both there, and which of them decides is not known; remove one: %w", strings.Join(looked, " and "), bootloader.ErrNotFound)
}

// listing names what lies at the top of the boot file system.
func listing(boot *bootfs.FS) string {
	entries, err := boot.ReadDir("")
	if err != nil {
		return "a directory that cannot be read"
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// openLoader opens the loader on a boot file system.
func openLoader(l Loader, boot *bootfs.FS, disk Device, layout partition.Layout, labels partition.Labels, vars efivar.Store, gone func(efivar.HardDrive) bool, cmdline string) (bootloader.Bootloader, error) {
	esp, err := labels.Find(layout, partition.EFI)
	if err != nil {
		return nil, err
	}
	at, err := place(esp)
	if err != nil {
		return nil, err
	}
	if l == SystemdBoot {
		return sdboot.New(sdboot.Config{FS: boot, Vars: vars, Partition: at, Cmdline: cmdline, Gone: gone})
	}
	c := grub.Config{FS: boot, Vars: vars, Partition: at, Cmdline: cmdline, Gone: gone}
	if p, err := labels.Find(layout, partition.BIOS); err == nil && disk.SectorSize() == 512 {
		c.BIOS = &grub.Place{Disk: disk, First: p.First, Sectors: p.Sectors}
	}
	return grub.New(c)
}

// parts are the files of an installer image that a new disk needs for its loader.
func (l Loader) parts() []string {
	switch l {
	case GRUBBIOS:
		return []string{grubBootAsset, grubCoreAsset}
	case GRUBUEFI:
		return []string{grubEFIAsset}
	}
	return []string{systemdBootAsset}
}

// fits refuses a disk that the loader cannot be started from.
func (l Loader) fits(plan partition.Layout, labels partition.Labels) error {
	if l == SystemdBoot {
		return nil
	}
	esp, err := labels.Find(plan, partition.EFI)
	if err != nil {
		return err
	}
	if esp.Number != grub.PartitionNumber {
		return fmt.Errorf("the boot file system is partition %d, and GRUB's image looks for it in partition %d", esp.Number, grub.PartitionNumber)
	}
	if l == GRUBBIOS {
		if plan.SectorSize != 512 {
			return fmt.Errorf("the disk has sectors of %d bytes, and BIOS boots from disks of 512 only (use %s)", plan.SectorSize, GRUBUEFI)
		}
		_, err = labels.Find(plan, partition.BIOS)
	}
	return err
}

// install puts the loader on a disk. parts are the files that parts names; active is InstallOptions.Active.
func (l Loader) install(dev Device, plan partition.Layout, labels partition.Labels, boot *bootfs.FS, parts map[string][]byte, active bool) error {
	switch l {
	case GRUBUEFI:
		return grub.Install(boot, parts[grubEFIAsset])
	case GRUBBIOS:
		if err := grub.Install(boot, nil); err != nil {
			return err
		}
		p, err := labels.Find(plan, partition.BIOS)
		if err != nil {
			return err
		}
		return grub.InstallBIOS(dev, grub.BIOS{Boot: parts[grubBootAsset], Core: parts[grubCoreAsset], First: p.First, Sectors: p.Sectors, Active: active})
	}
	return sdboot.Install(boot, parts[systemdBootAsset])
}

// small refuses a file of the loader that is larger than any loader is.
func small(a image.Asset) error {
	if a.Size > maxLoader {
		return fmt.Errorf("%s has %d bytes, more than %d: %w", a.Name, a.Size, maxLoader, ErrUnfit)
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
