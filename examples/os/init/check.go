package main

import (
	"context"
	"errors"
	"os"
)

// How a version of the example OS can be broken on purpose: values of the kernel argument pawl-os.test.
const (
	testExit  = "exit"        // PID 1 exits before it says that it started, which makes the kernel panic
	testPanic = "panic"       // the kernel panics, after it said so
	testFails = "check-fails" // the self-check fails
	testHangs = "check-hangs" // the self-check never answers
)

// crash makes the kernel panic.
func crash() { _ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) }

// check is what has to hold before a version is confirmed: that its network is up.
func (s *system) check(_ context.Context, network error) error {
	switch s.test {
	case testFails:
		return errors.New("the self-check failed, as this version was built to")
	case testHangs:
		select {}
	}
	return network
}
