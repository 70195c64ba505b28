package kexec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Check says without changing anything why this machine would refuse to load a kernel: [ErrForbidden], as far as the
// kernel shows it. That nothing is found is no promise.
func Check() error { return check("/", os.Geteuid()) }

func check(root string, uid int) error {
	if uid != 0 {
		return fmt.Errorf("only root may load a kernel: %w", ErrForbidden)
	}
	off, err1 := read(root, "proc/sys/kernel/kexec_load_disabled")
	lockdown, err2 := read(root, "sys/kernel/security/lockdown")
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("ask whether a kernel may be loaded: %w", err)
	}
	if off == "1" {
		return fmt.Errorf("kernel.kexec_load_disabled is set, until the next start: %w", ErrForbidden)
	}
	// "none [integrity] confidentiality": the one in brackets holds. Locked down for integrity, it takes signed kernels
	// only; that is seen when one is loaded.
	if strings.Contains(lockdown, "[confidentiality]") {
		return fmt.Errorf("the kernel is locked down for confidentiality: %w", ErrForbidden)
	}
	return nil
}

// Loaded reports whether a kernel is loaded.
func Loaded() (bool, error) {
	loaded, err := read("/", "sys/kernel/kexec_loaded")
	return loaded == "1", err
}

// read is the content of a small file of the kernel's; empty where the kernel has no such file.
func read(root, path string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}
