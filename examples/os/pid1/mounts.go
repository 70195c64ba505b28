// Package pid1 is what PID 1 of the example OS does before anything of its own: the kernel's file systems, modules and
// the network of QEMU; and how it tells tests what happens. A further PID 1, for other tests, begins with it.
//
// Start with MountKernel, Load and Network.
package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one kernel file system and where it goes.
type Mount struct {
	Kind, Dir string
	Flags     uintptr
}

// Quiet are the flags of what holds neither programs nor devices.
const Quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Do mounts it; one that is there already is no error.
func (m Mount) Do() error {
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.Kind, m.Dir, m.Kind, m.Flags, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s on %s: %w", m.Kind, m.Dir, err)
	}
	return nil
}

// MountKernel mounts what every program expects.
func MountKernel() error {
	for _, m := range []Mount{
		{"proc", "/proc", Quiet},
		{"sysfs", "/sys", Quiet},
		{"devtmpfs", "/dev", unix.MS_NOSUID},
		{"pstore", "/sys/fs/pstore", Quiet},
		{"securityfs", "/sys/kernel/security", Quiet},
		{"tmpfs", "/run", Quiet},
		{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := m.Do(); err != nil {
			return err
		}
	}
	return nil
}

// MountFirmware mounts the firmware's variables; it needs the module efivarfs. A machine with a BIOS has none.
func MountFirmware() error {
	if _, err := os.Stat("/sys/firmware/efi"); err != nil {
		return nil
	}
	return Mount{"efivarfs", "/sys/firmware/efi/efivars", Quiet}.Do()
}

// Load loads the modules that a file in dir lists, one name a line, in that order. The builder knows their
// dependencies; PID 1 need not.
func Load(dir, list string) error {
	order, err := os.ReadFile(filepath.Join(dir, list))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		if err := load(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.ENODEV) {
		return nil // what it is for is not there, as efivarfs on a machine with a BIOS
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", path, err)
	}
	return nil
}
