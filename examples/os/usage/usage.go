// Package usage says what this process takes of its machine. Start with Measure.
package usage

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// Usage is what a process takes.
type Usage struct {
	Files      int `json:"files"` // that are open
	Goroutines int `json:"goroutines"`
	MiB        int `json:"mib"`  // of memory, now
	Peak       int `json:"peak"` // the same, at most so far
}

// Measure is what this process takes.
func Measure() (Usage, error) {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Files: len(files) - 1, Goroutines: runtime.NumGoroutine()} // one is the directory itself
	if u.MiB, err = Memory(os.Getpid(), "VmRSS:"); err != nil {
		return Usage{}, err
	}
	u.Peak, err = Memory(os.Getpid(), "VmHWM:")
	return u, err
}

// Memory is a line of /proc/PID/status in MiB, rounded up.
func Memory(pid int, line string) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for text := range bytes.Lines(data) {
		fields := bytes.Fields(text)
		if len(fields) == 3 && string(fields[0]) == line {
			kib, err := strconv.Atoi(string(fields[1]))
			return (kib + 1023) / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, line)
}
