package grub

import (
	_ "embed" // grub.cfg
	"fmt"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/bootorder"
)

//go:embed grub.cfg
var config []byte

// formatLine begins every grub.cfg of ours.
const formatLine = "# Pawl's grub.cfg, format 1."

// Prefix is where the core images look for grub.cfg: on the disk that they were started from, in the boot file system,
// which must be partition 1.
const Prefix = "(,gpt1)/grub"

// PartitionNumber is the boot file system's number in the partition table, as Prefix says it.
const PartitionNumber = 1

// Modules is what the core images carry: what grub.cfg needs, and what helps a person at GRUB's prompt. The BIOS image
// needs biosdisk beside them.
func Modules() []string {
	return []string{"part_gpt", "fat", "loadenv", "normal", "configfile", "linux", "search", "test", "echo", "serial",
		"terminal", "reboot", "sleep", "boot", "minicmd"}
}

// BIOSModules are those that the BIOS image has beside Modules.
func BIOSModules() []string { return []string{"biosdisk"} }

func argsPath(s bootloader.Slot) string { return s.File("args.cfg") }

// Install puts GRUB's files on a boot file system. efi is GRUB for UEFI, made with Prefix and Modules; nil for a
// machine that starts GRUB by BIOS (InstallBIOS). No slot is bootable yet: Prepare and Confirm do that. Files that are
// there stay, but for those that differ where they are the same on every machine; so a run that was cut can be
// repeated.
//
//  1. directories; the blocks: no default, no trial, no slot that may boot. A cut: nothing that boots.
//  2. grub.cfg. A cut: GRUB's prompt.
//  3. the EFI binary. A cut: firmware finds no loader.
func Install(fsys *bootfs.FS, efi []byte) error { return install(fsys, efi, nil) }

// install is Install with the binary behind a shim, where that is not nil.
func install(fsys *bootfs.FS, efi, shim []byte) error {
	for _, dir := range []string{"grub", bootloader.A.Dir(), bootloader.B.Dir()} {
		if err := fsys.Mkdir(dir); err != nil {
			return fmt.Errorf("install GRUB: %w", err)
		}
	}
	for _, f := range []struct {
		path string
		data []byte
	}{
		{defaultPath(0), encodeStanding(0, standing{serial: 1})},
		{defaultPath(1), encodeStanding(1, standing{serial: 2})},
		{trialPath, encodeTrial(trial{canary: "0"})},
		{switchPath(bootloader.A), encodeSwitch(bootloader.A, false)},
		{switchPath(bootloader.B), encodeSwitch(bootloader.B, false)},
	} {
		if info, err := fsys.Stat(f.path); err == nil && info.Size == blockSize {
			continue
		} else if err != nil && !missing(err) {
			return fmt.Errorf("install GRUB: %w", err)
		}
		if err := fsys.WriteFile(f.path, f.data); err != nil {
			return fmt.Errorf("install GRUB: %w", err)
		}
	}
	if err := replace(fsys, configPath, config); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	if efi == nil {
		return nil
	}
	if err := fsys.Mkdir(bootloader.LoaderDir); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	if err := bootorder.Put(fsys, efi, shim); err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	return nil
}

// bothPath is there where UEFI and a BIOS alike start GRUB; what is in it is for people.
const bothPath = "grub/both.txt"

func markBoth(fsys *bootfs.FS) error {
	err := fsys.Mkdir("grub")
	if err == nil {
		err = replace(fsys, bothPath, []byte("GRUB on this disk is started by UEFI and by a BIOS.\n"))
	}
	if err != nil {
		return fmt.Errorf("install GRUB: %w", err)
	}
	return nil
}

// replace writes a file unless it is there with the same content.
func replace(fsys *bootfs.FS, path string, data []byte) error {
	if old, err := fsys.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return fsys.WriteFile(path, data)
}

// script makes a slot's args.cfg from the kernel arguments that the slot holds.
func (l *Loader) script(s bootloader.Slot) ([]byte, error) {
	cmdline, err := l.FS.ReadFile(s.File(bootloader.CmdlineFile))
	if err != nil && !missing(err) {
		return nil, err
	}
	return script(s, l.Partition.GUID.String(), string(cmdline))
}
