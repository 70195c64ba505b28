package main

import (
	"bytes"
	"os"
	"strings"
	"time"

	"github.com/pawl-os/pawl/node/watchdog"
)

// system is what this boot knows of itself.
type system struct {
	version  string // VERSION_ID of /etc/os-release
	boot     string // this boot's id
	test     string // how this version is broken, empty for a good one: kernel argument pawl-os.test, or see injected
	hooks    *hooks
	deadline time.Duration // kernel argument pawl-os.deadline: how long a trial may take
	dog      *watchdog.Watchdog
}

// trialDeadline is how long a trial of this OS may take when the command line does not say. It is up in seconds.
const trialDeadline = 3 * time.Minute

// shortDeadline is how long a trial may take that is known to hang.
const shortDeadline = 15 * time.Second

func newSystem(test string) (*system, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	arguments := strings.Fields(string(line))
	s := &system{
		version:  value(strings.Split(string(release), "\n"), "VERSION_ID"),
		boot:     string(bytes.TrimSpace(id)),
		test:     value(arguments, "pawl-os.test"),
		deadline: trialDeadline,
	}
	s.hooks = &hooks{version: s.version}
	if d, err := time.ParseDuration(value(arguments, "pawl-os.deadline")); err == nil {
		s.deadline = d
	}
	if test != "" {
		s.test = test
	}
	if s.test == testHangs {
		s.deadline = shortDeadline
	}
	return s, nil
}

// value finds key=value among words; quotes around the value are dropped.
func value(words []string, key string) string {
	for _, w := range words {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}
