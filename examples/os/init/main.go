// Command init is PID 1 of the example OS: the smallest system that embeds Pawl, and what the boot tests run.
//
// It mounts the kernel's file systems, loads the modules that its builder put in order, brings up the network, and then
// does what every embedder does (see pawl.go): tells Pawl that this version started, serves the API, checks itself, and
// confirms or gives up. Beside that it obeys a control console on the serial port (see console.go).
//
// Lines that begin with "pawl-os: " are for programs: one word that names the event, then key=value pairs.
//
// It is a test fixture and an example, not a distribution: no users, no shell, no disk is mounted, and the control
// console is open to whoever holds the serial port.
package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is PID 1 of the example OS; it does nothing elsewhere")
		os.Exit(2)
	}
	report("failed", "reason", boot().Error())
	restart(unix.LINUX_REBOOT_CMD_RESTART)
}

// boot brings the system up. It returns only with what went wrong.
func boot() error {
	if err := mountKernel(); err != nil {
		return err
	}
	console, err := openConsole("/dev/ttyS0")
	if err != nil {
		return err
	}
	if err := loadModules("/lib/modules"); err != nil {
		return err
	}
	if err := mountFirmware(); err != nil {
		report("warning", "reason", err.Error())
	}
	network := configureNetwork()
	if network != nil {
		report("warning", "reason", network.Error())
	}
	system, err := newSystem()
	if err != nil {
		return err
	}
	if system.test == testExit {
		os.Exit(1)
	}
	go console.serve()
	if err := system.embed(context.Background(), network); err != nil {
		report("warning", "reason", err.Error())
	}
	select {}
}

// restart ends the machine. It does not return.
func restart(how int) {
	unix.Sync()
	_ = unix.Reboot(how)
	select {}
}
