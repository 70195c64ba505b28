package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
)

// How a version of the example OS can be broken on purpose: values of the kernel argument pawl-os.test.
const (
	testExit  = "exit"        // PID 1 exits before it says that it started, which makes the kernel panic
	testPanic = "panic"       // the kernel panics, after it said so
	testFails = "check-fails" // the self-check fails
	testHangs = "check-hangs" // the self-check never answers
	testState = "check-state" // the self-check fails for as long as STATE begins with "broken"
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
	case testState:
		return checkState()
	}
	return network
}

// checkState fails when the partition STATE begins with "broken": a reason that lies outside of this version.
func checkState() error {
	f, err := os.Open("/dev/vda" + strconv.Itoa(stateNumber))
	if err != nil {
		return err
	}
	defer f.Close()
	word := make([]byte, len(stateBroken))
	if _, err := io.ReadFull(f, word); err != nil {
		return err
	}
	if string(word) == stateBroken {
		return errors.New("the state is broken")
	}
	return nil
}

// What checkState looks at.
const (
	stateNumber = 4 // of the partition STATE
	stateBroken = "broken"
)
