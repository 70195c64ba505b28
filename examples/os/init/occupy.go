package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// occupy starts a process that holds a block device, and prints its number.
func occupy(out io.Writer, args []string) error {
	c := exec.Command("/proc/self/exe", append([]string{"occupy"}, args...)...)
	ready, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	defer func() { go func() { _ = c.Wait() }() }()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("it does not hold %v: %w", args, err)
	}
	fmt.Fprintln(out, c.Process.Pid)
	return nil
}

// occupier is that process.
func occupier(paths []string) {
	for _, path := range paths {
		if _, err := unix.Open(path, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0); err != nil {
			os.Exit(1)
		}
	}
	fmt.Println("ready")
	for {
		_ = unix.Pause()
	}
}

// kill ends processes.
func kill(_ io.Writer, args []string) error {
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil || pid <= 1 {
			return fmt.Errorf("%q is no process that can be ended", arg)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}
