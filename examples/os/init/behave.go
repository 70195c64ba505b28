package main

import (
	"os"
)

// How a version of the example OS can be broken on purpose: values of the kernel argument pawl-os.test.
const (
	testPanic = "panic"       // the kernel panics
	testExit  = "exit"        // PID 1 exits, which makes the kernel panic
	testFails = "check-fails" // the self-check fails
	testHangs = "check-hangs" // the self-check never answers
)

// behave breaks the boot as the kernel argument asks for. What breaks the self-check is left to it.
func behave(test string) {
	switch test {
	case testPanic:
		_ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case testExit:
		os.Exit(1)
	}
}
