package sdboot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
)

// loaderNames are the files in EFI/BOOT that firmware starts without being told one, with the machine type of the
// image.
var loaderNames = [...]struct {
	machine uint16
	name    string
	arch    string // GOARCH
}{
	{0x8664, "BOOTX64.EFI", "amd64"},
	{0xaa64, "BOOTAA64.EFI", "arm64"},
}

// Install puts the loader and its files on a boot file system; loader is systemd-boot's image, for the machine that
// will boot. Nothing is bootable yet: Prepare and Confirm do that. Files that are there stay, but for the loader, which
// is replaced if it differs; so a run that was cut can be repeated.
//
//  1. directories; loader.conf without a default; two empty entries. A cut: firmware finds no loader.
//  2. the loader. A cut: no loader (or the old one); after it, one that finds nothing to boot.
func Install(fsys *bootfs.FS, loader []byte) error {
	name, err := loaderName(loader)
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
	path := "EFI/BOOT/" + name
	if old, err := fsys.ReadFile(path); err == nil && string(old) == string(loader) {
		return nil
	}
	if err := fsys.WriteFile(path, loader); err != nil {
		return fmt.Errorf("install systemd-boot: %w", err)
	}
	return nil
}

// loaderName reads the machine type from an image's PE header.
func loaderName(image []byte) (string, error) {
	if len(image) >= 64 && image[0] == 'M' && image[1] == 'Z' {
		if at := int64(binary.LittleEndian.Uint32(image[60:])); at+6 <= int64(len(image)) &&
			string(image[at:at+4]) == "PE\x00\x00" {
			machine := binary.LittleEndian.Uint16(image[at+4:])
			for _, l := range loaderNames {
				if l.machine == machine {
					return l.name, nil
				}
			}
			return "", fmt.Errorf("the loader is for machine type %#x, which is not supported", machine)
		}
	}
	return "", errors.New("the loader is no EFI image")
}
