package sdboot

import (
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/bootorder"
)

// Install puts the loader and its files on a boot file system; loader is systemd-boot's image, for the machine that
// will boot. Nothing is bootable yet: Prepare and Confirm do that. Files that are there stay, but for the loader, which
// is replaced if it differs; so a run that was cut can be repeated.
//
//  1. directories; loader.conf without a default; two empty entries. A cut: firmware finds no loader.
//  2. the loader. A cut: no loader (or the old one); after it, one that finds nothing to boot.
func Install(fsys *bootfs.FS, loader []byte) error { return install(fsys, loader, nil, false) }

// install is Install with the loader behind a shim, where that is not nil; enroll is [Backend]'s.
func install(fsys *bootfs.FS, loader, shim []byte, enroll bool) error {
	if _, err := bootorder.Machine(loader); err != nil {
		return fmt.Errorf("install systemd-boot: %w", err)
	}
	for _, dir := range []string{"EFI/BOOT", bootloader.A.Dir(), bootloader.B.Dir(), entriesDir} {
		if err := fsys.Mkdir(dir); err != nil {
			return fmt.Errorf("install systemd-boot: %w", err)
		}
	}
	files := []struct {
		path string
		data []byte
	}{
		{confPath, encodeConf(conf{enroll: enroll})},
		{entryPath(bootloader.A), empty()},
		{entryPath(bootloader.B), empty()},
	}
	for _, f := range files {
		if info, err := fsys.Stat(f.path); err == nil && info.Size == sectorSize {
			continue
		} else if err != nil && !missing(err) {
			return fmt.Errorf("install systemd-boot: %w", err)
		}
		if err := fsys.WriteFile(f.path, f.data); err != nil {
			return fmt.Errorf("install systemd-boot: %w", err)
		}
	}
	if err := bootorder.Put(fsys, loader, shim); err != nil {
		return fmt.Errorf("install systemd-boot: %w", err)
	}
	return nil
}
