package sdboot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/arch"
	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// Install puts the loader and its files on a boot file system; loader is systemd-boot's image, for the machine that
// will boot. Nothing is bootable yet: Prepare and Confirm do that. Files that are there stay, but for the loader, which
// is replaced if it differs; so a run that was cut can be repeated.
//
//  1. directories; loader.conf without a default; two empty entries. A cut: firmware finds no loader.
//  2. the loader. A cut: no loader (or the old one); after it, one that finds nothing to boot.
func Install(fsys *bootfs.FS, loader []byte) error {
	path, err := loaderPath(loader)
	if err != nil {
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
		{confPath, encodeConf(conf{})},
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
	if old, err := fsys.ReadFile(path); err == nil && string(old) == string(loader) {
		return nil
	}
	if err := fsys.WriteFile(path, loader); err != nil {
		return fmt.Errorf("install systemd-boot: %w", err)
	}
	return nil
}

// loaderPath is where firmware looks for a loader, by the machine type in its PE header.
func loaderPath(image []byte) (string, error) {
	if len(image) >= 64 && image[0] == 'M' && image[1] == 'Z' {
		if at := int64(binary.LittleEndian.Uint32(image[60:])); at+6 <= int64(len(image)) &&
			string(image[at:at+4]) == "PE\x00\x00" {
			a, err := arch.OfMachine(binary.LittleEndian.Uint16(image[at+4:]))
			if err != nil {
				return "", fmt.Errorf("look what the loader is for: %w", err)
			}
			return a.Removable(), nil
		}
	}
	return "", errors.New("the loader is no EFI image")
}
