package upgrade

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/bootloader/cmdline"
	"github.com/pawl-os/pawl/bootloader/efivar"
	"github.com/pawl-os/pawl/partition"
	"github.com/pawl-os/pawl/partition/device"
)

// Disk finds the disk that this machine booted from: the one with the partition that the loader says it was started
// from, GRUB on this machine's kernel command line, systemd-boot in a variable. Nil vars are this machine's. It writes
// nothing. No such disk, and more than one (a copy), are [ErrDiskUnknown].
func Disk(vars efivar.Store) (string, error) {
	if vars == nil {
		vars = efivar.Open(efivar.Dir)
	}
	line, err := text(cmdlinePath)
	if err != nil {
		return "", fmt.Errorf("find the boot disk: %w: %w", err, ErrDiskUnknown)
	}
	return findDisk(vars, line, classDir, devDir)
}

// partVariable is the variable in which a loader names the partition that it was started from.
const partVariable = "LoaderDevicePartUUID"

// bootPartition is the GUID of that partition, as a kernel command line says it; "" when it says none.
func bootPartition(line string) string {
	guid, _, err := cmdline.One(line, cmdline.Boot)
	if err != nil {
		return ""
	}
	return guid
}

// startedFrom is the GUID of the partition that the loader was started from.
func startedFrom(vars efivar.Store, line string) (string, error) {
	if guid := bootPartition(line); guid != "" {
		return guid, nil
	}
	v, err := vars.Read(efivar.Loader(partVariable))
	if err != nil {
		return "", err
	}
	guid, err := efivar.DecodeString(v.Data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", partVariable, err)
	}
	return guid, nil
}

func findDisk(vars efivar.Store, line, class, dev string) (string, error) {
	text, err := startedFrom(vars, line)
	if err != nil {
		return "", fmt.Errorf("find the boot disk: %w: %w", err, ErrDiskUnknown)
	}
	disk, err := diskWith(text, class, dev)
	if err != nil {
		return "", fmt.Errorf("find the boot disk: %w: %w", err, ErrDiskUnknown)
	}
	of, err := mirrorOf(disk, text)
	if err != nil || of == "" { // what is wrong with it, whoever opens the disk will say
		return disk, nil
	}
	// This boot came from a mirror: the machine is that of the first boot file system.
	first, err := diskWith(of, class, dev)
	if errors.Is(err, errNoDisk) {
		err = fmt.Errorf("%w: it was started from partition %s of %s, and %w", bootloader.ErrMirror, text, disk, err)
	}
	if err != nil {
		return "", fmt.Errorf("find the boot disk: %w: %w", err, ErrDiskUnknown)
	}
	return first, nil
}

var errNoDisk = errors.New("no disk has")

// diskWith is the one disk with a partition of that GUID.
func diskWith(guid, class, dev string) (string, error) {
	found, unread, err := disksWith(guid, class, dev)
	switch {
	case err != nil:
		return "", err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("%s each have partition %s", strings.Join(found, " and "), guid)
	case len(unread) > 0:
		return "", fmt.Errorf("%w partition %s (not read: %s)", errNoDisk, guid, strings.Join(unread, "; "))
	}
	return "", fmt.Errorf("%w partition %s", errNoDisk, guid)
}

// mirrorOf is the GUID of the partition whose mirror that partition of a disk is; "" where it is none.
func mirrorOf(disk, guid string) (of string, err error) {
	d, err := partition.Open(disk, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	layout, err := partition.Read(d)
	if err != nil {
		return "", err
	}
	for _, p := range layout.Partitions {
		if !strings.EqualFold(p.GUID.String(), guid) {
			continue
		}
		boot, err := bootfs.Open(partition.Section(d, p), bootfs.Options{})
		if err != nil {
			return "", err
		}
		return bootloader.MirrorOf(boot)
	}
	return "", nil
}

// disksWith are the disks with a partition of that GUID, and why those that might have it could not be read.
func disksWith(guid, class, dev string) (found, unread []string, err error) {
	devices, err := os.ReadDir(class)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range devices {
		if _, err := os.Stat(filepath.Join(class, d.Name(), "partition")); err == nil {
			continue // of a disk that has its own line
		}
		if size, err := os.ReadFile(filepath.Join(class, d.Name(), "size")); err == nil &&
			strings.TrimSpace(string(size)) == "0" {
			continue // a drive without a medium
		}
		path := filepath.Join(dev, strings.ReplaceAll(d.Name(), "!", "/")) // as sysfs writes names with a slash
		switch holds, err := holdsPartition(path, guid); {
		case holds:
			found = append(found, path)
		case err != nil && !errors.Is(err, partition.ErrForeign) && !errors.Is(err, partition.ErrNoTable):
			unread = append(unread, err.Error())
		}
	}
	return found, unread, nil
}

// goneFrom reports of a partition whether no disk has it. A disk that cannot be read may.
func goneFrom(class, dev string) func(efivar.HardDrive) bool {
	known := map[efivar.GUID]bool{}
	return func(p efivar.HardDrive) bool {
		if _, ok := known[p.GUID]; !ok {
			found, unread, err := disksWith(p.GUID.String(), class, dev)
			known[p.GUID] = err == nil && len(found) == 0 && len(unread) == 0
		}
		return known[p.GUID]
	}
}

// gone is goneFrom for the machine whose variables are vars. Variables that were given along with a disk image are
// those of a machine that has this one disk.
func gone(disk Device, vars efivar.Store) func(efivar.HardDrive) bool {
	if vars != nil {
		d, ok := disk.(device.Named)
		if !ok {
			return func(efivar.HardDrive) bool { return true }
		}
		if info, err := os.Stat(d.Path()); err == nil && info.Mode().IsRegular() {
			return func(efivar.HardDrive) bool { return true }
		}
	}
	return goneFrom(classDir, devDir)
}

const (
	classDir = "/sys/class/block"
	devDir   = "/dev"
)

// holdsPartition reports whether the table of a disk has a partition of that GUID.
func holdsPartition(path, guid string) (holds bool, err error) {
	d, err := partition.Open(path, partition.OpenOptions{ReadOnly: true})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	layout, err := partition.Read(d)
	for _, p := range layout.Partitions {
		holds = holds || strings.EqualFold(p.GUID.String(), guid)
	}
	return holds, err
}
