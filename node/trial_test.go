package node

import (
	"context"
	"errors"
	"regexp"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/image"
	"github.com/pawl-os/pawl/upgrade"
)

var errSick = errors.New("the disk smells")

func good(context.Context) error { return nil }

// deaf never answers and does not listen to its context, until the test is over.
func deaf(t *testing.T) func(context.Context) error {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(context.Context) error { <-over; return nil }
}

func TestTrials(t *testing.T) {
	for name, test := range map[string]struct {
		checks  func(t *testing.T) []Check
		arrange func(f *fake)
		after   time.Duration // when it has ended
		reason  string        // empty: confirmed
		silent  bool          // the reason does not reach META
		late    bool          // nobody has said no: tries that are left are used
	}{
		"no checks: confirmed by our own": {},
		"all checks hold": {
			checks: func(*testing.T) []Check { return []Check{{Name: "a", Run: good}, {Name: "b", Run: good}} },
		},
		"a check fails": {
			checks: func(*testing.T) []Check {
				return []Check{{Name: "a", Run: good}, {Name: "nose",
					Run: func(context.Context) error { return errSick }}}
			},
			reason: `check "nose": the disk smells`,
		},
		"a check panics": {
			checks: func(*testing.T) []Check {
				return []Check{{Name: "nose", Run: func(context.Context) error { panic("ouch") }}}
			},
			reason: `check "nose": it panicked: ouch`,
		},
		"a check that waits for its context": {
			checks: func(*testing.T) []Check {
				return []Check{{Name: "net", Deadline: 10 * time.Second,
					Run: func(ctx context.Context) error { <-ctx.Done(); return errSick }}}
			},
			after: 10 * time.Second, reason: `check "net": `, late: true,
		},
		"a check that never answers, with a deadline": {
			checks: func(t *testing.T) []Check {
				return []Check{{Name: "net", Deadline: 10 * time.Second,
					Run: deaf(t)}}
			},
			after: 10 * time.Second, reason: `check "net": no answer after 10s`, late: true,
		},
		"a check that never answers, without one": {
			checks: func(t *testing.T) []Check { return []Check{{Name: "net", Run: deaf(t)}} },
			after:  TrialDeadline, reason: `check "net"`, late: true,
		},
		"a slow check leaves less to the next": {
			checks: func(t *testing.T) []Check {
				slow := func(context.Context) error { time.Sleep(4 * time.Minute); return nil }
				return []Check{{Name: "slow", Run: slow}, {Name: "net", Deadline: 4 * time.Minute, Run: deaf(t)}}
			},
			after: TrialDeadline, reason: `check "net"`, late: true,
		},
		"what runs is not what was written": {
			arrange: func(f *fake) { f.status.Slots[1].Manifest.Image = "sha256:other" },
			reason:  `check "pawl": slot B holds sha256:other, the attempt wrote sha256:2`,
		},
		"the confirmation fails once": {
			arrange: func(f *fake) {
				f.fail["confirm"] = errSick
				time.AfterFunc(time.Second/2, func() { f.mu.Lock(); delete(f.fail, "confirm"); f.mu.Unlock() })
			},
			after: time.Second,
		},
		"the confirmation fails for good": {
			arrange: func(f *fake) { f.fail["confirm"] = errSick },
			after:   2 * time.Second, reason: "the disk smells",
		},
		"a trial by kexec that the firmware would not start: no second asking": {
			arrange: func(f *fake) { f.fail["confirm"] = upgrade.ErrCold },
			reason:  "a start through the firmware would not bring up the running slot",
		},
		"the confirmation never ends": {
			arrange: func(f *fake) {
				f.deaf["confirm"] = make(chan struct{})
			},
			after: TrialDeadline + recordTime, reason: "not confirmed within 5m0s", silent: true,
		},
		"the reason cannot be recorded": {
			checks: func(*testing.T) []Check {
				return []Check{{Name: "nose", Run: func(context.Context) error { return errSick }}}
			},
			arrange: func(f *fake) {
				f.deaf[`failed: check "nose": the disk smells`] = make(chan struct{})
			},
			after: recordTime, reason: `check "nose": the disk smells`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake().onTrial()
				var checks []Check
				if test.checks != nil {
					checks = test.checks(t)
				}
				if test.arrange != nil {
					test.arrange(f)
				}
				var at time.Duration
				begun := time.Now()
				s := f.server(t, Config{Checks: checks, Reboot: func(_ context.Context, reason string) error {
					at = time.Since(begun)
					f.reboots = append(f.reboots, reason)
					return nil
				}})
				boot, err := s.Start(t.Context())
				require.NoError(t, err)
				require.True(t, boot.Trial)
				go func() {
					if s.Prove(t.Context()) == nil {
						at = time.Since(begun)
					}
				}()
				time.Sleep(test.after)
				synctest.Wait()
				require.Equal(t, test.after, at, "it ends when it should")
				if test.reason == "" {
					require.Equal(t, "confirm", f.calls[len(f.calls)-1])
					require.EqualValues(t, "confirmed", s.checks().State)
					time.Sleep(2 * TrialDeadline)
					require.Empty(t, f.reboots, "the deadline of a confirmed trial does nothing")
					return
				}
				require.Len(t, f.reboots, 1)
				require.Contains(t, f.reboots[0], test.reason)
				require.EqualValues(t, "failed", s.checks().State)
				require.Contains(t, s.checks().Reason, test.reason)
				if !test.silent {
					how := map[bool]string{false: "failed", true: "late"}[test.late]
					require.Regexp(t, "^"+how+": .*"+regexp.QuoteMeta(test.reason), f.calls[len(f.calls)-1])
				}
				time.Sleep(2 * TrialDeadline)
				require.Len(t, f.reboots, 1, "it restarts once")
			})
		})
	}
}

func TestHowFarATrialCameIsRecorded(t *testing.T) {
	for name, fail := range map[string]error{"as it goes": nil, "META is destroyed": errSick} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake().onTrial()
				f.fail["reached"] = fail
				hook := Hook{Phase: PhaseMigrate, Name: "m", Run: func(context.Context, Occasion) error { return nil }}
				s := f.server(t, Config{
					Window: time.Minute, Hooks: []Hook{hook}, Checks: []Check{{Name: "net", Run: good},
						{Name: "disk", Run: good}},
				})
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				require.NoError(t, s.Prove(t.Context()))
				require.Equal(t, []string{"migrate", `check "pawl"`, `check "net"`, `check "disk"`, "window",
					"confirm"}, f.reached)
				require.EqualValues(t, "confirmed", s.checks().State, "a record holds nothing up")
			})
		})
	}
}

func TestATrialThatNeverComesUpEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		s := f.server(t, Config{TrialDeadline: time.Minute})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		require.Empty(t, f.rebooted())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Len(t, f.rebooted(), 1)
		require.Contains(t, f.rebooted()[0], "the system did not come up")
		require.ErrorContains(t, s.Prove(t.Context()), "did not come up", "too late")
		require.NotContains(t, f.called(), "confirm")
	})
}

func TestATrialThatCannotStartIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.fail["started"] = errSick
		s := f.server(t, Config{})
		_, err := s.Start(t.Context())
		require.ErrorIs(t, err, errSick)
		require.Len(t, f.rebooted(), 1)
		require.Contains(t, f.called(), "failed: start of a trial: the disk smells")
	})
}

func TestAStartThatHangsOnATrialEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.deaf["started"] = make(chan struct{})
		s := f.server(t, Config{})
		go func() { _, _ = s.Start(t.Context()) }()
		time.Sleep(TrialDeadline + recordTime)
		synctest.Wait()
		require.Len(t, f.rebooted(), 1)
		f.let("started")
		synctest.Wait()
		require.Len(t, f.rebooted(), 1)
	})
}

func TestABootOfTheDefaultNeitherChecksNorRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := f.server(t, Config{Checks: []Check{{Name: "nose", Run: func(context.Context) error { return errSick }}}})
		boot, err := s.Start(t.Context())
		require.NoError(t, err)
		require.False(t, boot.Trial)
		require.NoError(t, s.Prove(t.Context()))
		time.Sleep(2 * TrialDeadline)
		require.Empty(t, f.rebooted())
		require.Equal(t, []string{"started"}, f.called())
		require.Nil(t, s.checks())
	})
}

func TestAProblemOfAStartOnTheDefaultIsInTheStatus(t *testing.T) {
	f := newFake()
	f.fail["started"] = errSick
	s := f.server(t, Config{})
	_, err := s.Start(t.Context())
	require.ErrorIs(t, err, errSick)
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "the disk smells", st.Problem)
	require.Empty(t, f.rebooted())
}

func TestATrialRolledBackByHandIsNeverConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		answer := make(chan struct{})
		s := f.server(t, Config{Checks: []Check{{Name: "slow",
			Run: func(context.Context) error { <-answer; return nil }}}})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		proved := make(chan error, 1)
		go func() { proved <- s.Prove(t.Context()) }()
		synctest.Wait()
		op, err := s.Rollback(t.Context(), RollbackRequest{})
		require.NoError(t, err)
		var armed Armed
		require.NoError(t, op.Follow(t.Context(), 0, func(e Event) error { armed, _ = e.Told.(Armed); return nil }))
		require.EqualValues(t, "A", armed.Expected.Slot)
		require.False(t, armed.Expected.Trial)
		close(answer)
		require.ErrorContains(t, <-proved, "rolled back by hand")
		require.NotContains(t, f.called(), "confirm")
		time.Sleep(TrialDeadline)
		synctest.Wait()
		require.Len(t, f.rebooted(), 1, "a trial that nobody restarts ends at its deadline all the same")
	})
}

func TestATrialSurvivesTheEndOfItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		s := f.server(t, Config{Checks: []Check{{Name: "slow",
			Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}}})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Prove(ctx), context.DeadlineExceeded)
		require.Empty(t, f.rebooted())
		require.EqualValues(t, "waiting", s.checks().State)
		time.Sleep(TrialDeadline)
		synctest.Wait()
		require.Len(t, f.rebooted(), 1)
	})
}

var _ machine = (*upgrade.Machine)(nil)

func TestAServerThatWasClosedRestartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.hang["failed: check \"nose\": the disk smells"] = make(chan struct{})
		s := f.server(t, Config{Checks: []Check{{Name: "nose", Run: func(context.Context) error { return errSick }}}})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		go func() { _ = s.Prove(t.Context()) }()
		synctest.Wait() // the reason is being recorded
		require.NoError(t, s.Close())
		time.Sleep(2 * TrialDeadline)
		synctest.Wait()
		require.Empty(t, f.rebooted())
	})
}

// An image that is asked for from a registry that does not answer would keep the trial from its confirmation.
func TestAnOrderDuringATrialIsRefusedBeforeItsImageIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		s := f.server(t, Config{})
		asked := false
		s.pull = func(ctx context.Context, _ string) (*image.Image, error) {
			asked = true
			<-ctx.Done()
			return nil, ctx.Err()
		}
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		op, err := s.Upgrade(s.ctx, UpgradeRequest{Image: "os:3", Reboot: true})
		require.NoError(t, err)
		proved := s.Prove(t.Context())
		require.False(t, asked)
		require.NoError(t, proved)
		require.ErrorIs(t, op.Follow(t.Context(), 0, func(Event) error { return nil }), upgrade.ErrTrial)
		require.Equal(t, []string{"started", "confirm"}, f.called())
		require.Empty(t, f.rebooted())
	})
}

// Many connections, or another program, can take what is needed to look at the machine for a moment.
func TestATrialIsSeenThoughTheMachineCannotBeReadAtFirst(t *testing.T) {
	for name, lasts := range map[string]time.Duration{"for a moment": time.Second,
		"throughout the start": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake().onTrial()
				f.fail["open"] = syscall.EMFILE
				s := f.server(t, Config{TrialDeadline: time.Minute})
				time.AfterFunc(lasts, func() {
					f.mu.Lock()
					defer f.mu.Unlock()
					delete(f.fail, "open")
				})
				_, err := s.Start(t.Context())
				if name == "for a moment" {
					require.NoError(t, err)
					require.NoError(t, s.Prove(t.Context()), "it is confirmed")
					return
				}
				require.ErrorIs(t, err, syscall.EMFILE)
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, []string{"the trial failed: not confirmed within 1m0s: the system did not come up " +
					"so far that its checks began"}, f.rebooted())
			})
		})
	}
}

func TestABootThatIsNoTrialGoesOnThoughTheMachineCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.fail["open"] = syscall.EIO
		s := f.server(t, Config{TrialDeadline: time.Minute})
		_, err := s.Start(t.Context())
		require.ErrorIs(t, err, syscall.EIO)
		time.Sleep(time.Hour)
		require.Empty(t, f.rebooted())
	})
}

func TestTheClockOfATrialRunsBeforeAnythingIsServed(t *testing.T) {
	f := newFake().onTrial()
	f.early = true
	s := f.server(t, Config{TrialDeadline: 50 * time.Millisecond})
	s.StartClock()
	until(t, "a trial whose start never comes is given up", func() bool { return len(f.rebooted()) == 1 })
}

func TestTheServicesOwnCheckDoesNotSayNoWhereItCannotLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		s := f.server(t, Config{})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		f.mu.Lock()
		f.fail["status"] = syscall.EMFILE
		f.mu.Unlock()
		time.AfterFunc(time.Second/2, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.fail, "status")
		})
		require.NoError(t, s.Prove(t.Context()))
		require.Empty(t, f.rebooted())
	})
}
