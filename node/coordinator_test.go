package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// What a coordinator, such as a lock that nodes share, is given by the sequence.

func TestARefusalComesBeforeAnythingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var asked Occasion
		s := f.server(t, Config{Hooks: []Hook{{Phase: PhaseAllow, Name: "quorum",
			Run: func(_ context.Context, o Occasion) error {
				asked = o
				o.Tell("this is the last one")
				return errors.New("a member is down")
			}}}})
		op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Reboot: true, Force: true, Preserve: true})
		require.NoError(t, err)
		err = op.Follow(t.Context(), 0, func(Event) error { return nil })
		require.ErrorIs(t, err, ErrRefused)
		require.Equal(t, "refused", ErrorKind(err))
		require.ErrorContains(t, err, `hook "quorum": a member is down`)
		require.Equal(t, []string{"plan"}, f.called(), "not even prepared")
		require.True(t, asked.Force)
		require.Equal(t, attempt.Attempt{Kind: attempt.Upgrade, From: "A", To: "B", Old: "1", Version: "2",
			Image: "sha256:2", Reference: "os:2", Preserve: true}, asked.Attempt, "it is told what is planned")
		p, err := s.Plan(t.Context(), PlanRequest{Image: "os:2"})
		require.NoError(t, err)
		require.Contains(t, p.Warnings, "this is the last one")
		require.Contains(t, p.Warnings, `An upgrade would be refused now: allow: hook "quorum": a member is down.`)
		require.Equal(t, []progress.Step{"resolve", "allow", "write", "arm", "reboot"}, p.Steps)
	})
}

func TestARollbackMayBeRefusedUnlessItGivesSomethingUp(t *testing.T) {
	for name, test := range map[string]struct {
		arrange func(*fake)
		refused bool
	}{
		"to the other slot":      {func(f *fake) { f.status.Slots[1].Content = report.Complete }, true},
		"of the trial that runs": {func(f *fake) { f.onTrial() }, false},
		"of what is armed":       {func(f *fake) { f.status.Loader.Armed = bootloader.B }, false},
		"of what is staged": {func(f *fake) {
			f.status.Attempt = &attempt.Attempt{ID: "a", State: attempt.Staged,
				To: "B"}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				test.arrange(f)
				s := f.server(t, Config{Hooks: f.recorder(map[Phase]error{PhaseAllow: errSick})})
				op, err := s.Rollback(t.Context(), RollbackRequest{Reboot: true})
				require.NoError(t, err)
				err = op.Follow(t.Context(), 0, func(Event) error { return nil })
				require.Equal(t, test.refused, errors.Is(err, ErrRefused), "%v", err)
				require.Equal(t, test.refused, f.phases() == "allow", "%v", f.called())
			})
		})
	}
}

// Marks of an earlier attempt may stand before those of this one: the order of undoing is that of the phases all the
// same.
func TestTheLockIsGivenBackLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.left = []attempt.Mark{{Phase: "cordon", Boot: "boot-0", Ours: true}}
		s := f.server(t, Config{Hooks: f.recorder(map[Phase]error{PhaseCordon: ErrAlready, PhaseDrain: errSick})})
		require.Error(t, order(t, s, UpgradeRequest{Image: "os:2", Reboot: true}))
		require.Equal(t, `allow, lock, cordon, drain, abandon: drain: hook "test": the disk smells, uncordon sure=true, unlock sure=true`, f.phases())
	})
}

// An API server that comes up later than the node.
func TestWhatIsLeftIsTriedAgainUntilItIsUndone(t *testing.T) {
	marks := []attempt.Mark{{Phase: "lock", Boot: "boot-0", Ours: true}, {Phase: "cordon", Boot: "boot-0", Ours: true}}
	for name, begin := range map[string]func(t *testing.T, f *fake, s *Server){
		"after a confirmation": func(t *testing.T, f *fake, s *Server) {
			require.NoError(t, s.Prove(t.Context()))
		},
		"after an upgrade that failed": func(t *testing.T, f *fake, s *Server) {
			f.left = marks
			require.Error(t, order(t, s, UpgradeRequest{Image: "os:2", Reboot: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.status.Attempt = &attempt.Attempt{ID: "a", State: attempt.Ended, Result: attempt.Confirmed, To: "B",
					Marks: marks}
				var tried []time.Duration
				last, unlocked := time.Now(), 0
				s := f.server(t, Config{Hooks: []Hook{
					{Phase: PhaseUncordon, Name: "kubernetes", Run: func(context.Context, Occasion) error {
						tried, last = append(tried, time.Since(last).Round(time.Second)), time.Now()
						if len(tried) < 8 {
							return errors.New("the API server does not answer")
						}
						return nil
					}},
					{Phase: PhaseUnlock, Name: "etcd", Run: func(context.Context, Occasion) error {
						unlocked++
						return nil
					}},
					{Phase: PhaseDrain, Name: "pods", Run: func(context.Context, Occasion) error { return errSick }},
				}})
				begin(t, f, s)
				synctest.Wait()
				st, err := s.Status(t.Context())
				require.NoError(t, err)
				require.Equal(t, []string{`uncordon: hook "kubernetes": the API server does not answer`,
					"unlock: waits until the rest is undone"}, st.Undoing)
				require.Empty(t, st.Problem)
				require.Zero(t, unlocked)
				require.NoError(t, s.queue.enter(s.newOperation("another")), "the queue is free meanwhile")
				s.queue.leave()

				time.Sleep(10 * time.Minute)
				synctest.Wait()
				require.Len(t, tried, 8, "and no more once it is done")
				const s1, m1 = time.Second, time.Minute
				require.Equal(t, []time.Duration{5 * s1, 10 * s1, 20 * s1, 40 * s1, m1, m1, m1}, tried[1:])
				require.Equal(t, 1, unlocked)
				require.Empty(t, f.marks)
				st, err = s.Status(t.Context())
				require.NoError(t, err)
				require.Empty(t, st.Undoing)
			})
		})
	}
}

// Whoever waits for the node would else take it for back in service before the first try.
func TestWhatIsLeftToBeUndoneIsToldBeforeItIsTried(t *testing.T) {
	both := []string{"unlock: not yet", "uncordon: not yet"}
	for name, test := range map[string]struct {
		phase  attempt.State
		result attempt.Result
		runs   bootloader.Slot
		left   []string
	}{
		"confirmed":                        {attempt.Ended, attempt.Confirmed, "B", both},
		"confirmed, and META knows it not": {attempt.Started, "", "B", both},
		"fell back":                        {attempt.Ended, attempt.FellBack, "A", append([]string{"migrate-back: not yet"}, both...)},
		"still underway":                   {attempt.Prepared, "", "A", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.status.Loader.Active, f.status.Loader.Default = test.runs, test.runs
			f.status.Attempt = &attempt.Attempt{ID: "a", State: test.phase, Result: test.result, To: "B",
				Marks: []attempt.Mark{{Phase: "cordon", Boot: "boot-0"}, {Phase: "stop", Boot: "boot-0"},
					{Phase: "lock", Boot: "boot-0"}, {Phase: "migrate", Boot: "boot-0"}}}
			st, err := f.server(t, Config{}).Status(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.left, st.Undoing)
		})
	}
}

func TestWhatAHookWaitsForIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, held := newFake(), make(chan struct{})
		s := f.server(t, Config{Notes: func(context.Context) []string { return []string{"pool control-plane"} },
			Hooks: []Hook{{
				Phase: PhaseLock, Name: "etcd", Deadline: time.Hour, Run: func(ctx context.Context, o Occasion) error {
					o.Tell("node-2 holds the lock")
					<-held
					return nil
				},
			}}})
		op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Reboot: true})
		require.NoError(t, err)
		time.Sleep(30 * time.Minute) // more than hooks have that do not say
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, Notice("node-2 holds the lock"), st.Operation.Notice)
		require.Equal(t, []string{"pool control-plane"}, st.Notes)
		close(held)
		var told []string
		require.NoError(t, op.Follow(t.Context(), 0, func(e Event) error {
			if n, ok := e.Told.(Notice); ok {
				told = append(told, string(n))
			}
			return nil
		}))
		require.Equal(t, []string{"node-2 holds the lock"}, told)
		st, err = s.Status(t.Context())
		require.NoError(t, err)
		require.Empty(t, st.Operation.Notice)
	})
}

func TestNotesThatHangHoldNoStatusUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, hang := newFake(), make(chan struct{})
		defer close(hang)
		s := f.server(t, Config{Notes: func(context.Context) []string { <-hang; return nil }})
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{fmt.Sprintf("what else there is to say is not known: no answer after %s", noteTime)},
			st.Notes)
	})
}
