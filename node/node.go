// Package node is the service that a machine runs to be upgraded: the sequence around an upgrade, and what a boot owes
// to Pawl. An operating system embeds it in its PID 1, or runs it as cmd/pawld.
//
// Start with package [github.com/pawl-os/pawl/node/api], whose Run is the whole service with its API over HTTP. A
// system with an API of its own calls the methods of a [Server] instead, and links neither protobuf nor connect:
//
//	s, err := node.New(c)
//	s.Start(ctx)   early in every boot, before EPHEMERAL is mounted: the boot is recorded, a trial's deadline begins, a
//	               staged upgrade is armed and the machine restarts (ErrRestarting)
//	s.Prove(ctx)   after Start, once the system is up: on a trial, the checks, then confirm; then what an upgrade
//	               disturbed is undone (rejoin, uncordon, unlock)
//
// The package guarantees that a trial which Start has seen is confirmed after all its checks have passed, or that
// Config.Reboot is called, at the latest at the trial's deadline and the ten seconds that recording the reason may
// take, whatever a check does: the old version then boots. It guarantees that nothing but writing the target happens
// while the machine serves (prepare), that the restart comes last, and that only one operation runs at a time. With
// Config.Watchdog a trial that hangs so that nothing of this runs any more is reset by the hardware. An upgrade goes on
// when the client that asked for it goes away.
//
// What the system does around an upgrade (cordon, drain, stop services, ...) are its Hooks, or executables in a
// directory: see package node/hookdir. The order is at [Server.Upgrade]. What it does to disks is package upgrade's.
package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/bootloader/loaders"
	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/kexec"
	"github.com/pawl-os/pawl/node/watchdog"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
	"github.com/pawl-os/pawl/upgrade/report"
)

// TrialDeadline is how long a trial may take from Start to its confirmation when Config does not say.
const TrialDeadline = 5 * time.Minute

// Config says what a Server serves. Only Disk is required.
type Config struct {
	Disk string // what the machine boots from: a block device, or a disk image
	// how Disk is opened; zero: as this machine's, with loaders.All. ReadOnly and Log are set by the Server
	Machine upgrade.OpenOptions
	// how images are found; without a Policy, mirrors or RootCAs: as the machine's files say
	Image         image.Options
	Checks        []Check       // what must hold before a trial is confirmed, in order; none: see Prove
	TrialDeadline time.Duration // from Start to the confirmation; 0 is the constant TrialDeadline
	Window        time.Duration // how long the checks must go on to hold before a trial is confirmed; 0: once is enough
	// Load finds more Checks and Hooks, which come before the others. Start calls it once a trial's clock runs, so that
	// what it cannot find, or hangs on, costs a trial no more than a check that fails. Its error is ErrConfig.
	Load func(context.Context) ([]Check, []Hook, error)

	// what the system does in the phases around an upgrade
	Hooks []Hook
	// labels of partitions that are unmounted before a trial or a rollback is armed
	Unmount []string
	// how long what holds them may take to let go; 0 is the constant UnmountDeadline
	UnmountDeadline time.Duration
	// what becomes of a node on which they cannot be unmounted
	IfHeld   IfHeld
	Reboot   func(ctx context.Context, reason string) error // restarts the machine; nil is the function Reboot
	Watchdog Watchdog                                       // the hardware that ends a trial which hangs; zero: none
	// starts the kernel that was loaded; nil: PID 1 without a Reboot of its own does it
	Kexec func(ctx context.Context, reason string) error
	Log   *slog.Logger // nil discards

	// Observe is called as each phase and each step begins: the service goes on once it returns. So a test that keeps
	// the disk there, or never returns, sees the machine exactly there. Nil: nobody.
	Observe func(Place)
	// Notes is asked for lines for the status, such as which pool the node belongs to and who holds its lock. It has
	// two seconds.
	Notes func(context.Context) []string
	// Lock reports the lock that the node shares with others, and frees a slot by hand. Nil: there is none.
	Lock Lock

	// what the service was told when it was started, by name and without secrets, for whoever looks for a fault
	Settings map[string]string

	ownReboot bool // Reboot was given
}

// IfHeld says what becomes of a node whose services have been stopped and on which something still holds the disk.
type IfHeld string

// The choices. In either case the upgrade is given up and the error names what holds the disk.
const (
	HeldReboot IfHeld = ""     // restart into the version that runs
	HeldUndo   IfHeld = "undo" // mount, start and uncordon again
)

// Server is the node service of one machine in one boot. Its methods may be called concurrently.
type Server struct {
	config   Config
	bootID   string
	run      string // names this run of the service
	log      *slog.Logger
	open     func(readOnly bool) (machine, error)
	pull     func(ctx context.Context, reference string) (*image.Image, error)
	ctx      context.Context // ends with Close; operations live in it
	cancel   context.CancelFunc
	queue    *queue
	trial    trial
	begun    chan struct{} // closed once this boot is recorded
	recorded func()        // closes begun
	guard    *guard

	doctors  shared[doctor.Diagnosis]
	reads    shared[report.Status]
	planning chan struct{} // held while a plan looks at the machine

	journal    *journal
	kmsg       func() (kernelLog, error)
	mark       func(line string)
	diagnose   func(context.Context) (doctor.Diagnosis, error)
	kexecCheck func() error
	kexecLoad  func(kexec.Kernel) error
	unmount    func(context.Context, *mounted) error
	isFree     func(context.Context) error
	labels     func() ([]string, error) // of the disk's partitions
	mounts     mounted                  // what was unmounted and is to come back; of whoever holds the queue

	mu      sync.Mutex
	problem string   // of Start
	undoing []string // what is left to be undone, and why it is

	settling settling
}

// machine is what the service needs of upgrade.Machine.
type machine interface {
	Runs() (st bootloader.State, version string, err error)
	Status() (report.Status, error)
	Plan(context.Context, *image.Image, upgrade.Options) (upgrade.Plan, error)
	Prepare(context.Context, *image.Image, upgrade.Options) (attempt.Attempt, error)
	Stage(context.Context, *image.Image, upgrade.Options) (attempt.Attempt, error)
	ApplyStaged(context.Context, upgrade.Options) (attempt.Attempt, error)
	Unstage(context.Context) (attempt.Attempt, error)
	Arm(context.Context, upgrade.Options) (attempt.Attempt, error)
	Abandon(ctx context.Context, reason string) error
	Mark([]attempt.Mark) error
	PrepareRollback(context.Context, upgrade.Options) (attempt.Attempt, error)
	Kernel(bootloader.Slot) (kexec.Kernel, error)
	Started(context.Context) (upgrade.Boot, error)
	Reached(context.Context, string) error
	Failed(context.Context, string) error
	Late(context.Context, string) error
	Confirm(context.Context, upgrade.Options) (*attempt.Attempt, error)
	Repair(context.Context) error
	MetaValues() (map[uint8][]byte, error)
	SetMetaValue(tag uint8, value []byte) error
	MarkImage(image string, bad *attempt.Bad) error
	ReplaceLoader(context.Context, upgrade.LoaderOptions) (report.Loader, error)
	io.Closer
}

// New returns the server of this boot. Nothing is opened or changed yet. A program that cannot go on with its error may
// be in a trial: see [Server.GiveUp].
func New(c Config) (*Server, error) {
	c = c.filled()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("new node: %w", err)
	}
	s := &Server{config: c, log: c.Log, bootID: c.Machine.BootID, run: rand.Text(), queue: newQueue(),
		begun: make(chan struct{}), planning: make(chan struct{}, 1)}
	s.recorded = sync.OnceFunc(func() { close(s.begun) })
	if s.bootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, err
		}
		s.bootID = strings.TrimSpace(string(id))
	}
	s.guard = &guard{s: s, open: s.openDog}
	s.journal = newJournal(s.bootID)
	s.journal.last = uint64(time.Now().UnixMicro()) // above those of a service that ran before in this boot
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.doctors.do, s.doctors.life = s.doctor, s.ctx
	s.reads.do, s.reads.life = s.status, s.ctx
	s.attach()
	return s, nil
}

// filled is c with what is usual in place of what it does not say.
func (c Config) filled() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Machine.Loaders == nil {
		c.Machine.Loaders = loaders.All()
	}
	if c.ownReboot = c.Reboot != nil; !c.ownReboot {
		c.Reboot = Reboot
	}
	if c.Watchdog.Opened != nil && c.Watchdog.Device == "" {
		c.Watchdog.Device = watchdog.Auto
	}
	c.TrialDeadline = cmp.Or(c.TrialDeadline, TrialDeadline)
	c.UnmountDeadline = cmp.Or(c.UnmountDeadline, UnmountDeadline)
	c.Watchdog.Timeout = cmp.Or(c.Watchdog.Timeout, watchdogTimeout)
	c.Watchdog.Restart = cmp.Or(c.Watchdog.Restart, watchdogRestart)
	return c
}

// check says what of a configuration cannot be.
func (c Config) check() error {
	if c.Disk == "" {
		return errors.New("which disk does it boot from?")
	}
	if err := judge(c.Checks, c.Hooks); err != nil {
		return err
	}
	for what, d := range map[string]time.Duration{
		"trial deadline": c.TrialDeadline, "window": c.Window, "unmount deadline": c.UnmountDeadline,
		"watchdog timeout": c.Watchdog.Timeout, "watchdog restart": c.Watchdog.Restart,
	} {
		if d < 0 {
			return fmt.Errorf("a %s of %s: want none or more", what, d)
		}
	}
	if c.Window >= c.TrialDeadline {
		return fmt.Errorf("a window of %s does not fit a trial that may take %s", c.Window, c.TrialDeadline)
	}
	return nil
}

// attach connects the service with its machine; tests put others in place of these.
func (s *Server) attach() {
	s.mark = func(string) {}
	if strings.HasPrefix(s.config.Disk, "/dev/") { // this machine's
		s.mark = s.writeKernelLog
	}
	s.kmsg, s.kexecCheck, s.kexecLoad = openKernelLog, kexec.Check, kexec.Kernel.Load
	s.unmount, s.isFree, s.labels = s.unmountAll, s.free, s.diskLabels
	s.open = func(readOnly bool) (machine, error) {
		o := s.config.Machine
		o.ReadOnly, o.Log, o.BootID, o.Observe = readOnly, s.log, s.bootID, s.observeStep
		m, err := upgrade.Open(s.config.Disk, o)
		if err != nil {
			return nil, err // and no machine: a nil pointer would be one
		}
		return m, nil
	}
	s.diagnose = func(ctx context.Context) (doctor.Diagnosis, error) {
		o := s.config.Machine
		o.Log, o.BootID = s.log, s.bootID
		return doctor.Diagnose(ctx, s.config.Disk, o)
	}
	s.pull = func(ctx context.Context, reference string) (*image.Image, error) {
		o := s.config.Image
		if o.Policy == nil {
			var err error
			if o.Policy, err = image.MachinePolicy(); err != nil {
				return nil, err
			}
		}
		r, err := image.MachineRegistries()
		if err != nil {
			return nil, err
		}
		r.Fill(&o)
		return image.Open(ctx, reference, o)
	}
}

// About says what answers. It reads no disk.
func (s *Server) About() About { return About{Version: Version(), BootID: s.bootID, Run: s.run} }

// Settings are what the service was told when it was started, by name.
func (s *Server) Settings() map[string]string { return maps.Clone(s.config.Settings) }

// Version is the version of this module in the running program, as Go's build recorded it; "(devel)" if it did not.
func Version() string { return buildinfo.Version() }

// Recorded waits until Start has recorded this boot; what the disk says until then is of the boot before. When ctx ends
// first, the error is [ErrStarting], or the context's cause if that is another.
func (s *Server) Recorded(ctx context.Context) error {
	select {
	case <-s.begun:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// closeTime bounds how long Close waits.
const closeTime = 10 * time.Second

// Close cancels the operation that runs, if any, waits until it has ended, for a while, and stops the deadline of a
// trial: from then on a trial is neither confirmed nor given up by this Server, and its watchdog counts on. An upgrade
// that is cut short is as one that never was. What does not end, such as one that waits for a disk that hangs, is the
// error.
func (s *Server) Close() error {
	s.cancel()
	s.trial.stop()
	s.guard.on(guardClose, time.Time{})
	op, running := s.queue.latest()
	if !running {
		return nil
	}
	select {
	case <-op.ended:
		return nil
	case <-time.After(closeTime):
		return fmt.Errorf("close the node service: %s does not end", op.name)
	}
}

// with opens the machine for one use.
func (s *Server) with(readOnly bool, use func(machine) error) error {
	m, err := s.open(readOnly)
	if err != nil {
		return err
	}
	err = use(m)
	if err := m.Close(); err != nil {
		s.log.Warn("close the machine", "reason", err) // everything was flushed when it was written
	}
	return err
}
