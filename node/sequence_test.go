package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// recorder is a system whose hooks write down what they are called for, beside the calls to the machine.
func (f *fake) recorder(fails map[Phase]error) (hooks []Hook) {
	for _, p := range hookPhases {
		hooks = append(hooks, Hook{Phase: p, Name: "test", Run: func(ctx context.Context, o Occasion) error {
			_ = f.call(ctx, fmt.Sprintf("%s sure=%v", p, o.Sure))
			return fails[p]
		}})
	}
	return hooks
}

// phases are the calls that belong to the sequence, in short.
func (f *fake) phases() string {
	var short []string
	for _, c := range f.called() {
		if c != "plan" && c != "prepare" {
			short = append(short, strings.TrimSuffix(c, " sure=false"))
		}
	}
	return strings.Join(short, ", ")
}

// order runs an upgrade to its end.
func order(t *testing.T, s *Server, r UpgradeRequest) error {
	op, err := s.Upgrade(t.Context(), r)
	require.NoError(t, err)
	err = op.Follow(t.Context(), 0, func(Event) error { return nil })
	synctest.Wait()
	time.Sleep(time.Second) // the grace before the restart
	synctest.Wait()
	return err
}

func TestSequence(t *testing.T) {
	const all = "allow, lock, cordon, drain, leave, stop, unmount, unmount, free, last"
	sick := errors.New("sick")
	for name, test := range map[string]struct {
		fails   map[Phase]error // hooks
		call    string          // of the machine, that fails
		request UpgradeRequest
		stuck   IfHeld
		want    string
		restart bool
		why     string // contained in the error; empty: it works
		left    []string
	}{
		"it works": {want: all + ", arm, shutdown", restart: true, left: []string{"lock", "cordon", "leave", "stop",
			"unmount"}},
		"without a restart nothing is disturbed": {
			request: UpgradeRequest{Image: "os:2"}, want: "arm",
		},
		"staged, restarted later": {request: UpgradeRequest{Image: "os:2", Stage: true}, want: "stage"},
		"staged, restarted now: nothing is unmounted": {
			request: UpgradeRequest{Image: "os:2", Stage: true, Reboot: true}, restart: true,
			want: "allow, stage, lock, cordon, drain, leave, stop, last, shutdown", left: []string{"lock", "cordon",
				"leave", "stop"},
		},
		"cordon fails": {
			fails: map[Phase]error{PhaseCordon: sick}, why: `cordon: hook "test": sick`,
			want: "allow, lock, cordon, abandon: cordon: hook \"test\": sick, uncordon, unlock sure=true",
		},
		"drain fails": {
			fails: map[Phase]error{PhaseDrain: sick}, why: "sick",
			want: "allow, lock, cordon, drain, abandon: drain: hook \"test\": sick, uncordon sure=true, unlock " +
				"sure=true",
		},
		"leave fails": {
			fails: map[Phase]error{PhaseLeave: sick}, why: "sick",
			want: "allow, lock, cordon, drain, leave, abandon: leave: hook \"test\": sick, rejoin, uncordon " +
				"sure=true, unlock sure=true",
		},
		"stop fails": {
			fails: map[Phase]error{PhaseStop: sick}, why: "sick",
			want: "allow, lock, cordon, drain, leave, stop, abandon: stop: hook \"test\": sick, resume, rejoin " +
				"sure=true, uncordon sure=true, unlock sure=true",
		},
		"something does not let go": {
			call: "unmount", why: "the node restarts into the version that runs", restart: true,
			want: "allow, lock, cordon, drain, leave, stop, unmount, unmount, abandon: unmount: sick, shutdown",
			left: []string{"lock", "cordon", "leave", "stop", "unmount"},
		},
		"something does not let go, and the node is to go on": {
			call: "unmount", why: "or stage the upgrade", stuck: HeldUndo,
			want: "allow, lock, cordon, drain, leave, stop, unmount, unmount, abandon: unmount: sick, mount, resume " +
				"sure=true, rejoin sure=true, uncordon sure=true, unlock sure=true",
		},
		"the disk is held elsewhere": {
			call: "free", why: "or stage the upgrade", stuck: HeldUndo,
			want: strings.TrimSuffix(all, ", last") +
				", abandon: free: sick, mount sure=true, resume sure=true, rejoin sure=true, uncordon sure=true, " +
				"unlock sure=true",
		},
		"arming fails": {
			call: "arm", why: "sick",
			want: all + ", arm, abandon: sick, mount sure=true, resume sure=true, rejoin sure=true, uncordon " +
				"sure=true, unlock sure=true",
		},
		"it was cordoned already": {
			fails: map[Phase]error{PhaseCordon: ErrAlready, PhaseDrain: sick}, why: "sick",
			want: "allow, lock, cordon, drain, abandon: drain: hook \"test\": sick, unlock sure=true",
		},
		"the last look says no": {
			fails: map[Phase]error{PhaseLast: sick}, why: `last: hook "test": sick`,
			want: all + ", abandon: last: hook \"test\": sick, mount sure=true, resume sure=true, rejoin sure=true, " +
				"uncordon sure=true, unlock sure=true",
		},
		"the last look says no to the restart of what is staged": {
			request: UpgradeRequest{Image: "os:2", Stage: true, Reboot: true},
			fails:   map[Phase]error{PhaseLast: sick}, why: `last: hook "test": sick`,
			want: "allow, stage, lock, cordon, drain, leave, stop, last, resume sure=true, rejoin sure=true, " +
				"uncordon sure=true, unlock sure=true",
		},
		"it is not allowed": {
			fails: map[Phase]error{PhaseAllow: sick}, why: `allow: refused: hook "test": sick`, want: "allow",
		},
		"it is not allowed to stage and restart": {
			request: UpgradeRequest{Image: "os:2", Stage: true, Reboot: true},
			fails:   map[Phase]error{PhaseAllow: sick}, why: `allow: refused: hook "test": sick`, want: "allow",
		},
		"without a restart nobody is asked": {
			request: UpgradeRequest{Image: "os:2"}, fails: map[Phase]error{PhaseAllow: sick}, want: "arm",
		},
		"the lock is not to be had": {
			fails: map[Phase]error{PhaseLock: sick}, why: `lock: hook "test": sick`,
			want: "allow, lock, abandon: lock: hook \"test\": sick, unlock",
		},
		"what cannot be undone is kept, and the rest is undone": {
			fails: map[Phase]error{PhaseStop: sick, PhaseRejoin: errors.New("alone")},
			why:   "and not all was undone: rejoin",
			want: "allow, lock, cordon, drain, leave, stop, abandon: stop: hook \"test\": sick, resume, rejoin " +
				"sure=true, uncordon sure=true",
			left: []string{"lock", "leave"},
		},
		"what is staged stays staged": {
			request: UpgradeRequest{Image: "os:2", Stage: true, Reboot: true},
			fails:   map[Phase]error{PhaseDrain: sick},
			why:     "is staged all the same: the next boot applies it, unless that is cancelled",
			want:    "allow, stage, lock, cordon, drain, uncordon sure=true, unlock sure=true",
		},
		"a shutdown that fails holds nothing up": {
			fails: map[Phase]error{PhaseShutdown: sick}, restart: true,
			want: all + ", arm, shutdown", left: []string{"lock", "cordon", "leave", "stop", "unmount"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if test.call != "" {
					f.fail[test.call] = sick
				}
				s := f.server(t, Config{Hooks: f.recorder(test.fails), Unmount: []string{"EPHEMERAL"},
					IfHeld: test.stuck})
				r := test.request
				if r == (UpgradeRequest{}) {
					r = UpgradeRequest{Image: "os:2", Reboot: true}
				}
				err := order(t, s, r)
				require.Equal(t, test.want, f.phases())
				if test.why == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, test.why)
				}
				require.Equal(t, test.restart, len(f.rebooted()) == 1)
				var left []string
				for _, m := range f.marks {
					left = append(left, m.Phase)
				}
				require.Equal(t, test.left, left, "META knows what is to be undone")
			})
		})
	}
}

// TestWhatWasDisturbedIsUndoneAfterTheRestart: by the new version once it is confirmed, by the old one after a
// fallback, and by the service itself if it died in the middle.
func TestWhatWasDisturbedIsUndoneAfterTheRestart(t *testing.T) {
	before := []attempt.Mark{{Phase: "cordon", Boot: "boot-0", Ours: true}, {Phase: "leave", Boot: "boot-0"},
		{Phase: "stop", Boot: "boot-0", Ours: true}}
	for name, test := range map[string]struct {
		arrange func(f *fake, a *attempt.Attempt)
		want    string
	}{
		"the new version": {func(f *fake, _ *attempt.Attempt) {
			f.onTrial()
			f.status.Attempt.Marks = before
		}, "started, migrate, confirm, rejoin, uncordon sure=true"},
		"the old version, after a fallback": {func(_ *fake, a *attempt.Attempt) {
			a.State, a.Result = attempt.Ended, attempt.FellBack
			a.Marks = append(slices.Clone(before), attempt.Mark{Phase: "migrate", Boot: "boot-x"})
		}, "started, migrate-back, rejoin, uncordon sure=true"},
		"a service that died in the middle": {func(_ *fake, a *attempt.Attempt) {
			a.State = attempt.Prepared
			a.Marks = []attempt.Mark{{Phase: "cordon", Boot: "boot-1", Ours: true}, {Phase: "stop", Boot: "boot-1"}}
		}, "started, abandon: the node service ended in the middle of it, resume, uncordon sure=true"},
		"nothing was disturbed": {func(*fake, *attempt.Attempt) {}, "started"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.status.Attempt = &attempt.Attempt{ID: "a", State: attempt.Ended, To: bootloader.B}
				test.arrange(f, f.status.Attempt)
				s := f.server(t, Config{Hooks: f.recorder(nil)})
				_, err := s.Start(t.Context())
				require.NoError(t, err)
				require.NoError(t, s.Prove(t.Context()))
				require.Equal(t, test.want, f.phases())
			})
		})
	}
}

func TestAStagedUpgradeIsAppliedByStart(t *testing.T) {
	for name, test := range map[string]struct {
		fail error
		want error
	}{
		"armed":  {nil, ErrRestarting},
		"failed": {errSick, errSick},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.boot.Staged = true
				if test.fail != nil {
					f.fail["apply"] = test.fail
				}
				s := f.server(t, Config{})
				_, err := s.Start(t.Context())
				require.ErrorIs(t, err, test.want)
				require.Equal(t, test.fail == nil, len(f.rebooted()) == 1)
				st, err := s.Status(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.fail != nil, st.Problem != "")
			})
		})
	}
}

// Whoever hears that a version is armed may ask for something else at once.
func TestWhatIsArmedIsToldOnceTheQueueIsFree(t *testing.T) {
	for name, request := range map[string]UpgradeRequest{
		"goes on":  {Image: "os:2"},
		"staged":   {Image: "os:2", Stage: true},
		"restarts": {Image: "os:2", Reboot: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.deaf["close"] = make(chan struct{})
				s := f.server(t, Config{Hooks: f.recorder(nil)})
				op, err := s.Upgrade(s.ctx, request)
				require.NoError(t, err)
				told, free := false, false
				go func() {
					_ = op.Follow(context.Background(), 0, func(e Event) error {
						if _, ok := e.Told.(Armed); ok {
							next, running := s.queue.latest()
							told, free = true, !running || next != op
						}
						return nil
					})
				}()
				synctest.Wait()
				require.False(t, told, "the machine is not closed yet")
				f.let("close")
				synctest.Wait()
				require.True(t, told && free)
			})
		})
	}
}

func TestAHookThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := f.server(t, Config{Hooks: []Hook{{Phase: PhaseDrain, Name: "slow",
			Run: func(ctx context.Context, _ Occasion) error {
				return deaf(t)(ctx)
			}}}})
		err := order(t, s, UpgradeRequest{Image: "os:2", Reboot: true})
		require.ErrorContains(t, err, `drain: hook "slow": no answer after 1m0s`)
		require.Empty(t, f.rebooted())
	})
}

func TestAPhaseIsMarkedBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		marked := func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return fmt.Sprint(f.marks)
		}
		var seen []string
		hook := func(p Phase) Hook {
			return Hook{Phase: p, Name: "x", Run: func(context.Context, Occasion) error {
				seen = append(seen,
					marked())
				return nil
			}}
		}
		s := f.server(t, Config{Hooks: []Hook{hook(PhaseCordon), hook(PhaseDrain), hook(PhaseLeave)}})
		require.NoError(t, order(t, s, UpgradeRequest{Image: "os:2", Reboot: true}))
		require.Equal(t, []string{
			"[{cordon boot-1 false}]", "[{cordon boot-1 true}]", "[{cordon boot-1 true} {leave boot-1 false}]",
		}, seen)
	})
}

func TestWhatAnEarlierAttemptLeftIsStillOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.left = []attempt.Mark{{Phase: "cordon", Boot: "boot-0", Ours: true}}
		s := f.server(t, Config{Hooks: f.recorder(map[Phase]error{PhaseCordon: ErrAlready, PhaseDrain: errSick})})
		require.ErrorIs(t, order(t, s, UpgradeRequest{Image: "os:2", Reboot: true}), errSick)
		require.Contains(t, f.phases(), "uncordon sure=true")
		require.Empty(t, f.marks)
	})
}

func TestANodeThatDoesNotRestartWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.fail["reboot"] = errSick
		a := (&handle{f, false}).attempt(f.images["os:2"], attempt.Armed)
		a.Marks = []attempt.Mark{{Phase: "cordon", Boot: "boot-1", Ours: true}, {Phase: "stop", Boot: "boot-1",
			Ours: true}}
		f.status.Attempt = &a
		s := f.server(t, Config{Hooks: f.recorder(nil)})
		require.NoError(t, order(t, s, UpgradeRequest{Image: "os:2", Reboot: true}))
		require.True(t, strings.HasSuffix(f.phases(),
			"shutdown, mount sure=true, resume sure=true, rejoin sure=true, uncordon sure=true, unlock sure=true"),
			f.phases())
	})
}

func TestHooksAreChecked(t *testing.T) {
	for _, h := range []Hook{{Phase: PhaseDrain, Name: "x"},
		{Name: "x", Run: func(context.Context, Occasion) error { return nil }}, {Phase: PhaseFree, Name: "x",
			Run: func(context.Context, Occasion) error { return nil }}} {
		_, err := New(Config{Disk: "d", Hooks: []Hook{h}})
		require.ErrorContains(t, err, "a hook needs")
	}
}

// A file system that could not be unmounted because somebody ended the upgrade is not stuck.
func TestWhatIsCancelledWhileItUnmountsIsUndone(t *testing.T) {
	for name, end := range map[string]func(s *Server, cancel func()){
		"by who ordered it":         func(_ *Server, cancel func()) { cancel() },
		"by the end of the service": func(s *Server, _ func()) { _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.hang["unmount"] = make(chan struct{})
				s := f.server(t, Config{Hooks: f.recorder(nil), Unmount: []string{"EPHEMERAL"}})
				ctx, cancel := context.WithCancel(s.ctx)
				defer cancel()
				op, err := s.Upgrade(ctx, UpgradeRequest{Image: "os:2", Reboot: true, Attached: true})
				require.NoError(t, err)
				synctest.Wait()
				require.Equal(t, "allow, lock, cordon, drain, leave, stop, unmount, unmount", f.phases())
				end(s, cancel)
				err = op.Follow(t.Context(), 0, func(Event) error { return nil })
				require.ErrorIs(t, err, context.Canceled)
				require.NotContains(t, err.Error(), "end what holds it")
				time.Sleep(time.Minute)
				require.Equal(t, "allow, lock, cordon, drain, leave, stop, unmount, unmount, abandon: unmount: "+
					"context canceled, "+
					"mount, resume sure=true, rejoin sure=true, uncordon sure=true, unlock sure=true", f.phases())
				require.Empty(t, f.marks)
				require.Empty(t, f.rebooted())
			})
		})
	}
}

// What the service wants to undo may be over once it has its turn.
func TestWhatIsToBeUndoneIsLookedAtOnceThereIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.status.Attempt = &attempt.Attempt{ID: "a", State: attempt.Prepared,
			Marks: []attempt.Mark{{Phase: "cordon", Boot: "boot-1", Ours: true}}}
		f.hang["prepare"] = make(chan struct{})
		s := f.server(t, Config{Hooks: f.recorder(nil)})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		op, err := s.Upgrade(s.ctx, UpgradeRequest{Image: "os:2"})
		require.NoError(t, err)
		proved := make(chan error, 1)
		go func() { proved <- s.Prove(t.Context()) }()
		synctest.Wait()
		f.mu.Lock()
		f.status.Attempt = &attempt.Attempt{ID: "b", State: attempt.Armed}
		f.mu.Unlock()
		close(f.hang["prepare"])
		require.NoError(t, op.Follow(t.Context(), 0, func(Event) error { return nil }))
		require.NoError(t, <-proved)
		require.Equal(t, "started, arm", f.phases())
	})
}
