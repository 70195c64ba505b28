package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one kernel file system and where it goes.
type mount struct {
	kind, dir string
	flags     uintptr
}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func (m mount) do() error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.kind, m.dir, m.kind, m.flags, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s on %s: %w", m.kind, m.dir, err)
	}
	return nil
}

// mountKernel mounts what every program expects.
func mountKernel() error {
	for _, m := range []mount{
		{"proc", "/proc", quiet},
		{"sysfs", "/sys", quiet},
		{"devtmpfs", "/dev", unix.MS_NOSUID},
		{"pstore", "/sys/fs/pstore", quiet},
		{"securityfs", "/sys/kernel/security", quiet},
		{"tmpfs", "/run", quiet},
		{"tmpfs", "/tmp", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountFirmware mounts the firmware's variables; it needs the module efivarfs. A machine with a BIOS has none.
func mountFirmware() error {
	if _, err := os.Stat("/sys/firmware/efi"); err != nil {
		return nil
	}
	return mount{"efivarfs", "/sys/firmware/efi/efivars", quiet}.do()
}

// loadModules loads the modules that a file in dir lists, one name a line, in that order. The builder knows their
// dependencies; PID 1 need not.
func loadModules(dir, list string) error {
	order, err := os.ReadFile(filepath.Join(dir, list))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		if err := loadModule(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func loadModule(path string) error {
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
