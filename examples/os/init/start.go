package main

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/upgrade"
)

// startKernel starts what a slot holds, with nothing around it: no hooks, no flush but the kernel's. With "try" in
// front it is a dry run.
func (s *system) startKernel(out io.Writer, args []string) error {
	use := kexec.Kernel.Load
	if len(args) == 2 && args[0] == "try" {
		use, args = kexec.Kernel.Try, args[1:]
	}
	if len(args) != 1 {
		return errors.New("want a slot")
	}
	m, err := upgrade.Open(s.hooks.disk, upgrade.OpenOptions{Loaders: loaders.All(), ReadOnly: true})
	if err != nil {
		return err
	}
	defer m.Close()
	k, err := m.Kernel(bootloader.Slot(args[0]))
	if err != nil {
		return err
	}
	if err := use(k); err != nil {
		return err
	}
	loaded, err := kexec.Loaded()
	if err != nil {
		return err
	}
	if !loaded {
		fmt.Fprintln(out, "it would start")
		return nil
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC)
}
