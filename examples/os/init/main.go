// Command init is PID 1 of the example OS: the smallest system that embeds Pawl, and what the boot tests run.
//
// It opens the watchdog, if there is one, mounts the kernel's file systems, loads the modules that its builder put in
// order, brings up the network, and then does what every embedder does (see pawl.go): tells Pawl that this version
// started, serves the API, checks itself, and confirms or gives up. Beside that it obeys a control console on the
// serial port (see console.go).
//
// Lines that begin with "pawl-os: " are for programs: one word that names the event, then key=value pairs.
//
// It is a test fixture and an example, not a distribution: no users, no shell, no disk is mounted, and the control
// console is open to whoever holds the serial port.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/examples/os/pid1"
	"github.com/pawl-os/pawl/node/watchdog"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "occupy" {
		occupier(os.Args[2:])
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is PID 1 of the example OS; it does nothing elsewhere")
		os.Exit(2)
	}
	test := injected()
	if test == testHangEarly {
		hang()
	}
	dog, err := openWatchdog()
	if err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	pid1.Report("failed", "reason", boot(dog, test).Error())
	pid1.Restart(unix.LINUX_REBOOT_CMD_RESTART)
}

// openWatchdog is the first thing of all: whatever hangs from here on is ended by it. A machine without one goes on.
func openWatchdog() (*watchdog.Watchdog, error) {
	if err := pid1.Load("/lib/modules", "early"); err != nil {
		return nil, err
	}
	dog, err := watchdog.Early(watchdogTimeout)
	if errors.Is(err, watchdog.ErrNone) {
		return nil, nil
	}
	return dog, err
}

// watchdogTimeout is short for a real machine, and long for one that is emulated on a busy host.
const watchdogTimeout = 20 * time.Second

// port is the serial port of the machines that this is compiled for.
func port() string {
	if runtime.GOARCH == "arm64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// boot brings the system up. It returns only with what went wrong.
func boot(dog *watchdog.Watchdog, test string) error {
	if err := pid1.MountKernel(); err != nil {
		return err
	}
	console, err := openConsole("/dev/" + port())
	if err != nil {
		return err
	}
	if err := pid1.Load("/lib/modules", "order"); err != nil {
		return err
	}
	if err := pid1.MountFirmware(); err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	if asked, err := setupAsked(); err != nil {
		return err
	} else if asked {
		return setup(console)
	}
	network := pid1.Network()
	if network != nil {
		pid1.Report("warning", "reason", network.Error())
	}
	system, err := newSystem(test)
	if err != nil {
		return err
	}
	system.dog = dog
	if system.test == testExit {
		os.Exit(1)
	}
	console.more["fail"] = func(_ io.Writer, phases []string) error { system.hooks.fail(phases); return nil }
	console.more["stop-at"] = func(_ io.Writer, at []string) error { return system.hooks.stopAt(at) }
	console.more["kexec"] = system.startKernel
	console.more["records"] = func(out io.Writer, _ []string) error { return system.hooks.show(out) }
	console.more["hold"] = func(_ io.Writer, phases []string) error { system.hooks.hold(phases); return nil }
	go console.serve()
	if err := system.embed(context.Background(), network); err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	select {}
}
