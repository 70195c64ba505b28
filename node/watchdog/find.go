package watchdog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// system is where devices and what is known of them are found.
type system struct {
	dev  string // directory of the devices
	sys  string // directory that describes them
	dial func(path string) (device, error)
}

var this = system{dev: "/dev", sys: "/sys/class/watchdog", dial: dial}

// found is a device that has not been opened, and so does not count.
type found struct {
	path     string
	identity string // empty if it is not known
}

func (s system) open(path string, timeout time.Duration) (*Watchdog, error) {
	if path != Auto && path != "" {
		return s.openOne(path, timeout)
	}
	all, err := s.find()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range all {
		w, err := s.openOne(f.path, timeout)
		if err == nil {
			return w, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (s system) openOne(path string, timeout time.Duration) (*Watchdog, error) {
	noWayOut, err := s.says(path, "nowayout") // before it counts
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}
	dev, err := s.dial(path)
	if err != nil {
		hint := ""
		if errors.Is(err, unix.EBUSY) {
			hint = " (another program feeds it: systemd with RuntimeWatchdogSec=, or a watchdog daemon)"
		}
		return nil, fmt.Errorf("open watchdog: %w%s", err, hint)
	}
	w, err := start(path, dev, timeout)
	if err != nil {
		return nil, err
	}
	w.noWayOut = noWayOut == "1"
	return w, nil
}

// find lists the devices without opening one: hardware in the order of their numbers, then what is known to be
// software.
func (s system) find() ([]found, error) {
	entries, err := os.ReadDir(s.dev)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find watchdogs: %w", err)
	}
	byNumber := map[int]found{}
	last := -1
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "watchdog")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		path := filepath.Join(s.dev, e.Name())
		identity, err := s.says(path, "identity")
		if err != nil {
			return nil, fmt.Errorf("find watchdogs: %w", err)
		}
		byNumber[n] = found{path, identity}
		last = max(last, n)
	}
	var hard, soft []found
	for n := range last + 1 {
		switch f, there := byNumber[n]; {
		case !there:
		case software(f.identity):
			soft = append(soft, f)
		default:
			hard = append(hard, f)
		}
	}
	all := slices.Concat(hard, soft)
	if len(all) == 0 { // a kernel before 3.5, or a driver without the watchdog core
		path := filepath.Join(s.dev, "watchdog")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find watchdogs: %w", ErrNone)
		} else if err != nil {
			return nil, fmt.Errorf("find watchdogs: %w", err)
		}
		all = []found{{path: path}}
	}
	return all, nil
}

// says reads what the kernel tells of a device without opening it; empty if it tells nothing.
func (s system) says(path, attribute string) (string, error) {
	name := filepath.Base(path)
	if name == "watchdog" {
		name = "watchdog0"
	}
	data, err := os.ReadFile(filepath.Join(s.sys, name, attribute))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

// software reports whether a watchdog is the kernel's softdog, which dies with the kernel.
func software(identity string) bool { return identity == "Software Watchdog" }

// text is what a field with a final NUL holds.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// file is a watchdog device of the kernel.
type file struct{ *os.File }

func dial(path string) (device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (f file) info() (unix.WatchdogInfo, error) {
	info, err := unix.IoctlGetWatchdogInfo(int(f.Fd()))
	if err != nil {
		return unix.WatchdogInfo{}, err
	}
	return *info, nil
}

func (f file) setTimeout(seconds int) error {
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, seconds)
}

func (f file) timeout() (int, error) { return unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT) }

func (f file) feed() error { return unix.IoctlWatchdogKeepalive(int(f.Fd())) }
