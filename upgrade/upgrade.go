// Package upgrade moves a machine to another version of its operating system and cannot strand it.
//
// Start with [Install] for an empty disk, and with [Open] and [Machine.Apply] for a running machine. The order of
// writes is the table in docs/architecture.md: the target is cleared, written, read back and completed while nothing
// refers to it; one write then arms it for a counted number of boots; the version that comes up confirms itself with
// one more. Cut the power anywhere: the next boot starts exactly one complete slot, and every operation can be run
// again.
//
// The package guarantees that neither the active nor the default slot is touched, and that nothing is armed whose bytes
// were not hashed on their way in and read back from the device. It does not reboot, drain or stop anything: that is
// package node. It does not decide what boots: that is the loader, through package bootloader.
package upgrade

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/bootfs"
	"github.com/pawl-os/pawl/partition/device"
	"github.com/pawl-os/pawl/partition/meta"
	"github.com/pawl-os/pawl/upgrade/progress"
)

// Device is a disk, a partition of one or a file: see package [device].
type Device = device.Device

// Errors that callers act on.
var (
	// ErrTrial is returned when the running slot has not been confirmed. Do: confirm it, or reboot to fall back.
	ErrTrial = errors.New("the running version is on trial")
	// ErrUnordered is returned when the running slot is not the default and no attempt ordered this boot of it. Do:
	// have a person decide, who confirms it or goes back.
	ErrUnordered = errors.New("no attempt ordered this boot, so only a person can confirm it, or go back")
	// ErrArmed is returned by Confirm when the default runs and the other slot is armed. Nothing was changed. Do: restart
	// into it; or take it back with a rollback.
	ErrArmed = errors.New("the other slot is armed (restart into it, or take it back: rollback)")
	// ErrSame is returned when the running slot already holds the image. Do: nothing, or force.
	ErrSame = errors.New("the running slot already holds this image")
	// ErrKnownBad is returned for an image whose trial failed before. Do: use another version, or force.
	ErrKnownBad = errors.New("this image failed its trial before")
	// ErrNotComplete is returned when a slot that is to boot holds no complete system. Do: upgrade instead.
	ErrNotComplete = errors.New("the slot holds no complete system")
	// ErrDoesNotFit is returned before anything is written. Do: use a larger boot file system or a smaller image.
	ErrDoesNotFit = errors.New("the boot file system is too small for the image")
	// ErrUnfit is returned when the image's files cannot be booted. Do: fix the image, or force.
	ErrUnfit = errors.New("the image cannot be booted")
	// ErrNothingToRollBack is returned when the other slot holds nothing to go back to. Do: upgrade.
	ErrNothingToRollBack = errors.New("the other slot holds nothing to go back to")
	// ErrUnproved is returned when the version in the other slot was to be tried and never confirmed. Do: upgrade, or
	// force.
	ErrUnproved = errors.New("the version in the other slot never proved itself")
	// ErrCold is returned by Confirm in a trial that was started by kexec, when firmware and loader would not start the
	// slot once it is confirmed. Nothing was changed. Do: restart, which falls back; then mend what the message names,
	// and upgrade without kexec, so that the trial itself shows whether the firmware starts it.
	ErrCold = errors.New("a start through the firmware would not bring up the running slot")
	// ErrDiskUnknown is returned when this machine's own disk cannot be found by itself. Do: name it.
	ErrDiskUnknown = errors.New("it is not known which disk this machine booted from")
	// ErrInUse is returned when a disk that is to be installed holds a partition table. Do: look at it, then force.
	ErrInUse = errors.New("the disk holds a partition table already")
	// ErrNotStaged is returned when no upgrade is staged. Do: nothing, or stage one.
	ErrNotStaged = errors.New("no upgrade is staged")
	// ErrRehearsal is returned when the rest of an operation, played on a copy of this disk and of the firmware's
	// variables, does not end as it must: a boot would start something else, or a write would be refused. Nothing that
	// boots was changed. Do: mend what the message names.
	ErrRehearsal = errors.New("the rehearsal of the next boots failed")
)

// config says what an operation works on.
type config struct {
	OpenOptions
	Boot    *bootfs.FS            // the boot file system, with the slots' directories as its zones
	backend bootloader.Backend    // what kind of loader boots this machine
	Loader  bootloader.Bootloader // that loader, over the same boot file system
	Meta    Device                // the META partition
	halves  *halves               // the partitions of the slots' images
	Part    opener                // opens another partition, until the machine is closed; nil while it is installed
	// the whole disk, only read: a rehearsal is played on a copy of it; nil while it is installed
	Disk      Device
	Cmdline   string       // of the running kernel
	Wipe      func() error // wipes EPHEMERAL, which is not mounted yet; nil where there is none
	DropCache func() error // makes the next read of Boot come from the device; nil where there is no cache
	// reads Boot's partition past every cache, also while it is written; nil: DropCache, then Boot
	Direct   io.ReaderAt
	whole    bool     // Boot is in a file that is flushed as a whole later: Direct reads that file
	NoDirect error    // why there is no Direct, for people
	Problems []string // of the partition table, for Status: one sentence each
	// VersionsWarning is what is wrong with the window that the os-release sets.
	VersionsWarning string
}

// Machine is one machine's boot state, opened for one operation after the other. It is not safe for concurrent use.
type Machine struct {
	config
	values interface {
		Value(tag uint8) ([]byte, error)
	} // META for reading
	meta    *meta.Store // META for writing; nil when read-only
	metaErr error       // why META cannot be used; confirm and fallback work all the same
	log     *slog.Logger
	now     func() time.Time
	close   func() error
}

// newMachine returns the machine that c describes. A damaged META is not an error here: what needs META says so later.
func newMachine(c config) (*Machine, error) {
	m := &Machine{config: c, log: c.Log, now: c.Now, close: func() error { return nil }}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if err := m.tryBy(""); err != nil {
		return nil, fmt.Errorf("open machine: %w", err)
	}
	var err error
	switch {
	case c.memory != nil:
		m.meta, m.values = c.memory, c.memory
	case c.ReadOnly:
		m.values, err = meta.Read(c.Meta)
	default:
		m.meta, err = meta.Open(c.Meta)
		m.values = m.meta
	}
	if err != nil {
		m.metaErr = fmt.Errorf("open META: %w", err)
	}
	return m, nil
}

// Close releases what Open opened.
func (m *Machine) Close() error { return m.close() }

// Options are the choices of an operator. The zero value is the default.
type Options struct {
	Preserve bool // keep EPHEMERAL
	// also an image that runs already, that failed before, that looks unfit to boot, or that the version policy
	// refuses; a rollback also to a version that failed or never proved itself
	Force bool
	Tries int // trial boots; 0 is 1
	// how the loader tries the target, where it knows several ways ([bootloader.Backend]); "" is its usual one
	Way  string
	Mode string // how the node service restarts the machine; only recorded
	// of Confirm: also what no attempt on record ordered; a person says so, or Started found a trial in this boot
	Ordered  bool
	Kexec    bool                 // the caller starts the trial by kexec, once: see Arm
	Progress func(progress.Event) // may be nil
}

func (o Options) tries() int { return max(o.Tries, 1) }

// step is one row of the table: what it is called, and what does it.
type step struct {
	name progress.Step
	do   func(context.Context) error
}

// walk runs the steps in order, tells of each, and stops at the first error, which names its step.
func (m *Machine) walk(ctx context.Context, steps []step, tell func(progress.Event)) error {
	return walk(ctx, steps, tell, m.now)
}

func walk(ctx context.Context, steps []step, tell func(progress.Event), now func() time.Time) error {
	if tell == nil {
		tell = func(progress.Event) {}
	}
	for _, s := range steps {
		begin := now()
		tell(progress.Event{Step: s.name})
		err := context.Cause(ctx)
		if err == nil {
			err = s.do(ctx)
		}
		tell(progress.Event{Step: s.name, Done: true, Err: err, Elapsed: now().Sub(begin)})
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}

// at tells the observer.
func (m *Machine) at(operation string, s progress.Step) {
	m.log.Info(operation, "step", s)
	if m.Observe != nil {
		m.Observe(operation, s)
	}
}
