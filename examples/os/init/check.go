package main

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pawl-os/pawl/examples/os/pid1"
)

// How a version of the example OS can be broken on purpose: values of the kernel argument pawl-os.test.
const (
	testExit  = "exit"        // PID 1 exits before it says that it started, which makes the kernel panic
	testPanic = "panic"       // the kernel panics, after it said so
	testFails = "check-fails" // the self-check fails
	testHangs = "check-hangs" // the self-check never answers
	testState = "check-state" // the self-check fails for as long as STATE begins with "broken"

	testHang      = "hang"       // nothing runs any more, once it said that it started
	testHangEarly = "hang-early" // nothing runs any more, before anything else
	testConfirm   = "confirm"    // a good version that says when it is about to be confirmed
)

// injected is how this version is to break on this machine: its serial number (DMI) is "VERSION:HOW" then, so that one
// image can die in many ways. Empty for every other version and machine.
func injected() string {
	if err := (pid1.Mount{Kind: "sysfs", Dir: "/sys", Flags: pid1.Quiet}).Do(); err != nil {
		return ""
	}
	release, err1 := os.ReadFile("/etc/os-release")
	serial, err2 := os.ReadFile("/sys/class/dmi/id/product_serial")
	if err1 != nil || err2 != nil {
		return ""
	}
	version, how, _ := strings.Cut(strings.TrimSpace(string(serial)), ":")
	if version != value(strings.Split(string(release), "\n"), "VERSION_ID") {
		return ""
	}
	return how
}

// hang takes the only processor for ever: no other process and no other thread of this one runs again.
func hang() {
	pid1.Report("hang")
	runtime.LockOSThread()
	_ = os.WriteFile("/proc/sys/kernel/sched_rt_runtime_us", []byte("-1"),
		0) // not even a twentieth of it is left to others
	err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 99}, 0)
	if err != nil {
		pid1.Report("warning", "reason", err.Error())
	}
	for n := 0; ; n++ { // without a call that lets go
	}
}

// check is what has to hold before a version is confirmed: that its network is up.
func (s *system) check(_ context.Context, network error) error {
	switch s.test {
	case testFails:
		return errors.New("the self-check failed, as this version was built to")
	case testHangs:
		select {}
	case testConfirm:
		pid1.Report("confirm")
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
