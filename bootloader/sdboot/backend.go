package sdboot

import (
	"fmt"
	"io"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/uki"
	"github.com/pawl-os/pawl/image/format"
)

// Name is the name of [Backend].
const Name = "systemd-boot"

// MaxTries is the highest number of trial boots, the same as with GRUB.
const MaxTries = 9

// Backend is systemd-boot, on UEFI. A slot is a UKI, or a kernel and an initramfs, with its arguments in an entry. The
// zero value works; Title and Timeout are those of Config.
type Backend struct {
	Title   string
	Timeout int
	// Enroll has a loader that Install puts on a disk enroll the keys in [KeysDir] where the firmware has none (setup
	// mode), without asking, and restart: Secure Boot is on from then on.
	Enroll bool
}

// KeysDir is where systemd-boot finds what it enrolls by itself: db.auth, KEK.auth and PK.auth.
const KeysDir = "loader/keys/auto"

var _ bootloader.KernelChecker = Backend{}

// Name implements [bootloader.Backend].
func (Backend) Name() string { return Name }

// Probe implements [bootloader.Backend].
func (Backend) Probe(boot *bootfs.FS) (bool, error) {
	_, err := boot.Stat(confPath)
	if missing(err) {
		return false, nil
	}
	return err == nil, err
}

// Open implements [bootloader.Backend].
func (b Backend) Open(c bootloader.Config) (bootloader.Bootloader, error) {
	return New(Config{FS: c.FS, Vars: c.Vars, Partition: c.Disk.Boot, Cmdline: c.Cmdline, Idle: c.Idle, Gone: c.Gone,
		Title: b.Title, Timeout: b.Timeout})
}

// Takes implements [bootloader.Backend].
func (Backend) Takes() bootloader.Takes {
	return bootloader.Takes{
		Slot: []string{bootloader.UKIFile, bootloader.KernelFile, bootloader.InitrdFile, bootloader.CmdlineFile},
		Own:  format.SystemdBoot, OwnFile: bootloader.LoaderFile,
		Shim:    format.Shim,
		Install: []string{format.SystemdBoot},
	}
}

// Ways implements [bootloader.Backend].
func (Backend) Ways() []bootloader.Way {
	return []bootloader.Way{{Name: string(OneShot)}, {Name: string(BootNext), UKI: true}, {Name: string(Counting)}}
}

// MaxTries implements [bootloader.Backend].
func (Backend) MaxTries() int { return MaxTries }

// Fits implements [bootloader.Backend]: firmware looks for the loader on any disk.
func (Backend) Fits(bootloader.Disk) error { return nil }

// Install implements [bootloader.Backend].
func (b Backend) Install(_ bootloader.Disk, boot *bootfs.FS, files map[string][]byte) error {
	return install(boot, files[format.SystemdBoot], files[format.Shim], b.Enroll)
}

// CheckKernel implements bootloader.KernelChecker: firmware is to start the kernel, so it has to be a program for EFI.
func (Backend) CheckKernel(kernel io.ReaderAt, size int64, arch string) error {
	img, err := uki.Parse(kernel, size)
	if err != nil {
		return fmt.Errorf("its kernel is no EFI program, which it is with CONFIG_EFI_STUB: %w", err)
	}
	if img.Arch != arch {
		return fmt.Errorf("its kernel is for %q, the image says %q", img.Arch, arch)
	}
	return nil
}
