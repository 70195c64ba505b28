// Package guest is what programs that are PID 1 of a test machine have in common. Start with [Begin]; package oskit
// makes the initramfs that they are in.
package guest

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Modules is where the initramfs has the kernel's modules, and Order the file that says in which order they are loaded:
// their names, a line each.
const (
	Modules = "lib/modules"
	Order   = Modules + "/order"
)

// Begin mounts /dev, /proc and /sys, and loads the modules.
func Begin() error {
	for _, m := range []struct{ dir, kind string }{{"/dev", "devtmpfs"}, {"/proc", "proc"}, {"/sys", "sysfs"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	order, err := os.ReadFile("/" + Order)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		module, err := os.ReadFile("/" + Modules + "/" + name)
		if err != nil {
			return err
		}
		if err := unix.InitModule(module, ""); err != nil && err != unix.EEXIST {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

// End switches the machine off.
func End() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
