package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/watchdog"
)

// beast is a watchdog that notes when it would reset the machine. It is one for all openings.
type beast struct {
	mu       sync.Mutex
	opened   int
	on       bool
	timeout  time.Duration
	due      time.Time // of the reset, if it is not fed
	bitten   time.Duration
	noWayOut bool
	begun    time.Time
}

func newBeast(s *Server) *beast {
	b := &beast{begun: time.Now()}
	s.config.Watchdog.Device = "fake"
	s.guard.open = func() (dog, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opened++
		b.on, b.timeout = true, s.config.Watchdog.Timeout
		b.due = time.Now().Add(b.timeout)
		return b, nil
	}
	return b
}

// bites is how long after the beginning the machine is reset; 0: it has not been, so far.
func (b *beast) bites() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	return b.bitten
}

func (b *beast) armed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	return b.on
}

func (b *beast) look() {
	if b.on && b.bitten == 0 && !time.Now().Before(b.due) {
		b.bitten = b.due.Sub(b.begun)
	}
}

func (b *beast) Feed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	b.due = time.Now().Add(b.timeout)
	return nil
}

func (b *beast) Timeout() time.Duration { b.mu.Lock(); defer b.mu.Unlock(); return b.timeout }

func (b *beast) SetTimeout(d time.Duration) (time.Duration, error) {
	b.mu.Lock()
	b.timeout = d
	b.mu.Unlock()
	return d, b.Feed()
}

func (b *beast) Disarm() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.look()
	if b.noWayOut {
		return watchdog.ErrNoWayOut
	}
	b.on = false
	return nil
}

func (b *beast) String() string { return "a beast" }

// hung is a Reboot that never comes to an end.
func hung(t *testing.T) func(context.Context, string) error {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(context.Context, string) error { <-over; return errors.New("it hung") }
}

func TestTheWatchdogEndsWhatNothingElseCan(t *testing.T) {
	const never, latest = 0, TrialDeadline + recordTime
	for name, test := range map[string]struct {
		arrange func(t *testing.T, f *fake, c *Config)
		fallen  time.Duration // the hardware resets the machine
		armed   bool          // at the end
	}{
		"a trial that is confirmed": {},
		"a trial that is confirmed late": {arrange: func(_ *testing.T, _ *fake, c *Config) {
			c.Checks = []Check{{Name: "slow",
				Run: func(context.Context) error { time.Sleep(4 * time.Minute); return nil }}}
		}},
		"a boot of the default": {arrange: func(_ *testing.T, f *fake, _ *Config) { *f = *newFake() }},
		"the disk hangs before it is known what boot this is": {
			arrange: func(_ *testing.T, f *fake, _ *Config) {
				f.deaf["started"] = make(chan struct{})
				f.status.Loader.Default = "B"
			},
			fallen: latest + watchdogTimeout, armed: true,
		},
		"a check fails and the restart hangs": {
			arrange: func(t *testing.T, _ *fake, c *Config) {
				c.Checks = []Check{{Name: "nose", Run: func(context.Context) error { return errSick }}}
				c.Reboot = hung(t)
			},
			fallen: watchdogRestart, armed: true,
		},
		"a check never answers and the restart hangs": {
			arrange: func(t *testing.T, _ *fake, c *Config) {
				c.Checks, c.Reboot = []Check{{Name: "deaf", Run: deaf(t)}}, hung(t)
			},
			fallen: TrialDeadline + watchdogRestart, armed: true,
		},
		"the confirmation, the record of why, and the restart hang": {
			arrange: func(t *testing.T, f *fake, c *Config) {
				f.deaf["confirm"] = make(chan struct{})
				c.Reboot = hung(t)
			},
			fallen: TrialDeadline + recordTime + watchdogRestart, armed: true,
		},
		"the restart is refused": {
			arrange: func(_ *testing.T, f *fake, c *Config) {
				c.Checks = []Check{{Name: "nose", Run: func(context.Context) error { return errSick }}}
				c.Reboot = func(context.Context, string) error { return errSick }
			},
			fallen: watchdogRestart, armed: true,
		},
		"it is fed for ever if it cannot be stopped": {
			arrange: func(_ *testing.T, f *fake, c *Config) { c.Watchdog.Timeout = time.Hour }, armed: true,
			fallen: never,
		},
		"it is fed for ever if that was asked for": {
			arrange: func(_ *testing.T, f *fake, c *Config) { *f = *newFake(); c.Watchdog.Always = true }, armed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newFake().onTrial(), Config{}
				if test.arrange != nil {
					test.arrange(t, f, &c)
				}
				s := f.server(t, c)
				b := newBeast(s)
				b.noWayOut = c.Watchdog.Timeout == time.Hour
				go func() {
					if _, err := s.Start(t.Context()); err == nil {
						_ = s.Prove(t.Context())
					}
				}()
				time.Sleep(time.Hour)
				synctest.Wait()
				require.InDelta(t, test.fallen, b.bites(), float64(watchdogTimeout/feedings))
				require.Equal(t, test.armed, b.armed())
				require.Equal(t, 1, b.opened)
				for _, c := range f.deaf {
					close(c)
				}
				synctest.Wait()
				clear(f.deaf)
			})
		})
	}
}

func TestTheWatchdogIsArmedWhileAnUpgradeRestartsTheNode(t *testing.T) {
	for name, test := range map[string]struct {
		fails   Phase // hook that fails
		mode    string
		arrange func(f *fake, c *Config)
		opened  int
		armed   bool // at the end
		during  map[Phase]bool
	}{
		"it works": {opened: 1, armed: true, during: map[Phase]bool{PhaseDrain: false, PhaseStop: true,
			PhaseShutdown: true}},
		"what fails before services are stopped": {
			fails: PhaseDrain, during: map[Phase]bool{PhaseDrain: false, PhaseUncordon: false},
		},
		"what is undone": {
			fails: PhaseStop, opened: 1, during: map[Phase]bool{PhaseStop: true, PhaseResume: true},
		},
		"a restart that is refused": {
			arrange: func(f *fake, _ *Config) { f.fail["reboot"] = errSick }, opened: 1,
			during: map[Phase]bool{PhaseStop: true},
		},
		"a kernel that may not know of it is started": {
			mode: ModeAuto, opened: 1, during: map[Phase]bool{PhaseStop: true},
			arrange: func(f *fake, c *Config) { c.Kexec = func(context.Context, string) error { return nil } },
		},
		"a trial by kexec takes it over": {
			mode: ModeKexec, opened: 1, armed: true,
			arrange: func(f *fake, c *Config) { c.Kexec = func(context.Context, string) error { return nil } },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := newFake(), Config{}
				if test.arrange != nil {
					test.arrange(f, &c)
				}
				var b *beast
				seen := map[Phase]bool{}
				for _, p := range hookPhases {
					c.Hooks = append(c.Hooks, Hook{Phase: p, Name: "test", Run: func(context.Context, Occasion) error {
						seen[p] = b.armed()
						if p == test.fails {
							return errSick
						}
						return nil
					}})
				}
				s := f.server(t, c)
				b = newBeast(s)
				r := UpgradeRequest{Image: "os:2", Reboot: true, Mode: test.mode}
				r.Stage = test.mode == ModeAuto // its restart is one into the version that runs
				_ = order(t, s, r)
				for p, armed := range test.during {
					require.Equal(t, armed, seen[p], p)
				}
				require.Equal(t, test.opened, b.opened)
				require.Equal(t, test.armed, b.armed())
				require.Equal(t, test.armed, s.guard.say() != "")
				time.Sleep(time.Hour)
				if test.armed {
					require.InDelta(t, watchdogRestart, b.bites(), float64(2*time.Second),
						"the restart has its time, and no more")
				}
			})
		})
	}
}

func TestTheEndOfTheServiceLeavesATrialToTheWatchdog(t *testing.T) {
	for name, trial := range map[string]bool{"a trial": true, "the default": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if trial {
					f.onTrial()
				}
				s := f.server(t, Config{Watchdog: Watchdog{Always: true}})
				b := newBeast(s)
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				require.True(t, b.armed())
				require.Equal(t, "a beast armed, 30s", s.guard.say())
				time.Sleep(time.Minute)
				require.NoError(t, s.Close())
				require.Equal(t, trial, b.armed())
				time.Sleep(time.Minute)
				require.Equal(t, trial, b.bites() != 0)
			})
		})
	}
}

func TestAMachineWithoutAWatchdogWorksAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		s := f.server(t, Config{})
		s.guard.open = func() (dog, error) { return nil, watchdog.ErrNone }
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Prove(t.Context()))
		require.EqualValues(t, "confirmed", s.checks().State)
	})
}

func TestTheWatchdogLetsAStagedUpgradeTakeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.boot.Staged = true
		f.hang["apply"] = make(chan struct{})
		s := f.server(t, Config{})
		b := newBeast(s)
		time.AfterFunc(time.Hour, func() { close(f.hang["apply"]) })
		_, err := s.Start(t.Context())
		require.ErrorIs(t, err, ErrRestarting)
		require.Zero(t, b.bites())
		require.Len(t, f.rebooted(), 1)
	})
}

// guardWants is what follows each event in each state, written down once more: the table is compared with it pair by
// pair.
const guardWants = `
          try    hold   stage  release hurry  disarm restart leave  time up close
off       trial  held   held   off     off    off    last    off    off     closed
trial     trial  trial  held   trial   trial  off    doomed  off    doomed  closed
held      trial  held   held   off     trial  off    last    off    held    closed
kept      trial  held   held   kept    kept   kept   last    kept   kept    closed
last      last   last   last   kept    doomed last   last    kept   last    closed
doomed    doomed doomed doomed doomed  doomed last   doomed  kept   doomed  closed
closed    closed closed closed closed  closed closed closed  closed closed  closed
`

// guardPaths are events that lead to each state, from off.
var guardPaths = map[guardState][]guardEvent{
	guardOff: {}, guardTrial: {guardTry}, guardHeld: {guardHold}, guardKept: {guardHold, guardRelease},
	guardLast:   {guardRestart},
	guardDoomed: {guardTry, guardRestart}, guardClosed: {guardTry, guardClose},
}

// TestTheGuardInEveryStateAndEvent walks all pairs, with a watchdog that can be stopped and with one that cannot.
func TestTheGuardInEveryStateAndEvent(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(guardWants), "\n")
	events := strings.Fields(strings.ReplaceAll(rows[0], "time up", "time-up"))
	require.Len(t, rows[1:], len(guardTable))
	pairs := 0
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		from := guardState(cells[0])
		require.Len(t, cells[1:], len(events))
		for i, event := range events {
			e, to := guardEvent(strings.ReplaceAll(event, "-", " ")), guardState(cells[i+1])
			pairs++
			for name, noWayOut := range map[string]bool{"it can be stopped": false, "no way out": true} {
				want := to
				if !noWayOut && from != guardKept && to == guardKept {
					want = guardOff
				}
				if noWayOut && from != guardOff && to == guardOff {
					want = guardKept
				}
				if !noWayOut && from == guardKept && (e == guardRelease || e == guardDisarm || e == guardLeave) {
					want = guardOff // as when it could not be stopped at first
				}
				t.Run(strings.Join([]string{string(from), string(e), name}, "/"), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newFake().server(t, Config{})
						b := newBeast(s)
						b.noWayOut = noWayOut || from == guardKept
						end := time.Now().Add(time.Hour)
						for _, before := range guardPaths[from] {
							s.guard.on(before, end)
						}
						b.mu.Lock()
						b.noWayOut = noWayOut
						b.mu.Unlock()
						s.guard.on(e, end)
						synctest.Wait()
						s.guard.mu.Lock()
						is := s.guard.state
						s.guard.mu.Unlock()
						require.Equal(t, want, is)
						time.Sleep(watchdogTimeout + time.Second)
						alone := want == guardClosed && (from != guardOff && (from != guardKept || noWayOut))
						lost := alone && from != guardLast && from != guardDoomed &&
							from != guardClosed // these have three minutes
						require.Equal(t, lost || from == guardClosed || e == guardTimeUp && from == guardTrial,
							b.bites() > 0, "who is fed does not bite")
						require.Equal(t, want != guardOff && (want != guardClosed || alone), b.armed())
						time.Sleep(watchdogRestart)
						fed := want == guardTrial || want == guardHeld || want == guardKept
						require.Equal(t, b.armed() && !fed, b.bites() > 0)
					})
				})
			}
		}
	}
	require.Equal(t, len(guardPaths)*len(events), pairs)
}
