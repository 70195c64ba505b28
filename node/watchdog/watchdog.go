// Package watchdog holds a hardware watchdog: a timer outside of the system that resets the machine unless it is fed.
//
// Start with Open, then feed it more often than Timeout, and end with Disarm. A Watchdog that is dropped, or whose
// process dies, goes on counting, and the machine is reset: that is what it is for. PID 1 of a system that has no /dev
// yet uses Early.
//
// The package guarantees that Timeout is what the driver took, not what was asked, and that nothing is opened that is
// not used: opening a watchdog starts it. It feeds nothing by itself; when to stop feeding is package node's to decide.
//
// It follows the kernel's Documentation/watchdog/watchdog-api.rst.
package watchdog

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Auto has Open choose the device: the first one that is hardware, else the first one.
const Auto = "auto"

// Errors that callers act on.
var (
	// ErrNone is returned when the machine has no watchdog device. Do: load its driver, or go on without.
	ErrNone = errors.New("there is no watchdog device")
	// ErrNoWayOut is returned when the driver was loaded so that it cannot be stopped. Do: feed it for ever.
	ErrNoWayOut = errors.New("this watchdog cannot be stopped (nowayout)")
)

// Watchdog is an open watchdog that counts. Its methods may be called concurrently.
type Watchdog struct {
	Path     string // of the device
	Identity string // the driver's name for it
	Software bool   // a timer of the kernel: it does not outlive a hang of the kernel itself

	mu       sync.Mutex
	dev      device
	options  uint32 // WDIOF_*
	noWayOut bool
	timeout  time.Duration
	closed   bool
}

// device is an open watchdog device.
type device interface {
	info() (unix.WatchdogInfo, error)
	setTimeout(seconds int) error
	timeout() (seconds int, err error)
	feed() error
	io.WriteCloser
}

// Open opens a device by its path, or the best one if path is Auto, and with that starts it. The timeout is rounded and
// bounded by the driver: see Timeout. A device that another program holds is an error; Auto goes on to the next.
func Open(path string, timeout time.Duration) (*Watchdog, error) {
	return this.open(path, timeout)
}

// Early is Open with Auto for a PID 1 whose /dev is not there yet: it then makes a node for the first watchdog in the
// root directory, and removes it again. The driver has to be in the kernel, or loaded.
func Early(timeout time.Duration) (*Watchdog, error) {
	w, err := this.open(Auto, timeout)
	if !errors.Is(err, ErrNone) {
		return w, err
	}
	const node, major, minor = "/watchdog", 10, 130 // Documentation/admin-guide/devices.txt
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return nil, fmt.Errorf("open watchdog: make a node for it: %w", err)
	}
	w, err = this.open(node, timeout)
	if rm := unix.Unlink(node); rm != nil && err == nil {
		err = fmt.Errorf("open watchdog: remove its node: %w", rm)
	}
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		err = fmt.Errorf("open watchdog: %w", ErrNone)
	}
	return w, err
}

// start makes a Watchdog of an open device.
func start(path string, dev device, timeout time.Duration) (*Watchdog, error) {
	info, err := dev.info()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open watchdog %s: it is none: %w", path, err), dev.Close())
	}
	w := &Watchdog{Path: path, Identity: text(info.Identity[:]), dev: dev, options: info.Options}
	w.Software = software(w.Identity)
	if _, err := w.SetTimeout(timeout); err != nil {
		return nil, errors.Join(fmt.Errorf("open watchdog %s: %w", path, err), stop(dev))
	}
	return w, nil
}

// Timeout is how long after it was fed last the watchdog resets the machine.
func (w *Watchdog) Timeout() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.timeout
}

// SetTimeout changes the timeout, as far as the driver can, and feeds. It returns what the driver took: the same or,
// where that is too long for it, the longest of its halves that is not.
func (w *Watchdog) SetTimeout(timeout time.Duration) (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.options&unix.WDIOF_SETTIMEOUT != 0 {
		var err error
		for n := max(int(timeout/time.Second), 1); n > 0; n /= 2 {
			if err = w.dev.setTimeout(n); !errors.Is(err, unix.EINVAL) {
				break
			}
		}
		if err != nil && !errors.Is(err, unix.EINVAL) { // all refused: it keeps its own
			return 0, fmt.Errorf("set its timeout: %w", err)
		}
	}
	took, err := w.dev.timeout()
	if err != nil {
		return 0, fmt.Errorf("read its timeout back: %w", err)
	}
	if took <= 0 {
		return 0, fmt.Errorf("read its timeout back: the driver says %d seconds", took)
	}
	w.timeout = time.Duration(took) * time.Second
	if err := w.dev.feed(); err != nil {
		return 0, fmt.Errorf("feed it: %w", err)
	}
	return w.timeout, nil
}

// Feed has the watchdog begin to count anew.
func (w *Watchdog) Feed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.dev.feed(); err != nil {
		return fmt.Errorf("feed watchdog %s: %w", w.Path, err)
	}
	return nil
}

// Disarm stops the watchdog and closes it. One that cannot be stopped is [ErrNoWayOut] and stays open, to be fed. After
// another error it counts on, perhaps.
func (w *Watchdog) Disarm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return nil
	case w.noWayOut:
		return fmt.Errorf("stop watchdog %s: %w", w.Path, ErrNoWayOut)
	}
	w.closed = true
	if err := stop(w.dev); err != nil {
		return fmt.Errorf("stop watchdog %s: %w", w.Path, err)
	}
	return nil
}

// stop is the magic close: without the letter before it the watchdog counts on.
func stop(dev device) error {
	_, err := dev.Write([]byte("V"))
	return errors.Join(err, dev.Close())
}

// String says which watchdog it is, for people.
func (w *Watchdog) String() string {
	return fmt.Sprintf("%s (%s)", w.Path, w.Identity)
}
