package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawl-os/pawl/examples/os/pid1"
)

// setupAsked reports whether this system is one that installs another, by the kernel argument pawl-os.setup.
func setupAsked() (bool, error) {
	line, err := os.ReadFile("/proc/cmdline")
	return slices.Contains(strings.Fields(string(line)), "pawl-os.setup"), err
}

// setup runs the installer on the console until all is installed, and then obeys the console. It returns only with what
// went wrong.
func setup(c *console) error {
	if err := pid1.Load("/lib/modules", "setup"); err != nil {
		return err
	}
	if err := driveWithin(30 * time.Second); err != nil {
		return err
	}
	i := exec.Command("/bin/installer", "setup")
	i.Stdin, i.Stdout, i.Stderr = c.ReadWriter, c.ReadWriter, c.ReadWriter
	if err := i.Run(); err != nil && i.ProcessState == nil {
		return err
	}
	pid1.Report("setup", "code", strconv.Itoa(i.ProcessState.ExitCode()))
	c.serve()
	return fmt.Errorf("the console has ended")
}

// driveWithin waits until the kernel has found the drive with the medium, a CD or a disk on SCSI.
func driveWithin(patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, path := range []string{"/dev/sr0", "/dev/sda"} {
			if _, err := os.Stat(path); err == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("no drive with a medium appeared within %v", patience)
}
