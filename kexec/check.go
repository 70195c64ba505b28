package kexec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Check says without changing anything why this machine would refuse to load a kernel: ErrForbidden, as far as the
// kernel shows it. That nothing is found is no promise.
func Check() error { return check("/", os.Geteuid()) }

func check(root string, uid int) error {
	if uid != 0 {
		return fmt.Errorf("only root may load a kernel: %w", ErrForbidden)
	}
	if off := strings.TrimSpace(read(root, "proc/sys/kernel/kexec_load_disabled")); off == "1" {
		return fmt.Errorf("kernel.kexec_load_disabled is set, until the next start: %w", ErrForbidden)
	}
	// "none [integrity] confidentiality": the one in brackets holds. Locked down for integrity, it takes signed kernels
	// only; that is seen when one is loaded.
	if strings.Contains(read(root, "sys/kernel/security/lockdown"), "[confidentiality]") {
		return fmt.Errorf("the kernel is locked down for confidentiality: %w", ErrForbidden)
	}
	return nil
}

// Loaded reports whether a kernel is loaded.
func Loaded() bool { return strings.TrimSpace(read("/", "sys/kernel/kexec_loaded")) == "1" }

// read is the content of a small file of the kernel's, or empty.
func read(root, path string) string {
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return ""
	}
	return string(data)
}
