package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/upgrade/progress"
)

func bytesOf(step progress.Step, n int64) Told {
	return Progress{progress.Event{Step: step, Bytes: n, Total: 100}}
}

func stepOf(step progress.Step, done bool) Told {
	return Progress{progress.Event{Step: step, Done: done}}
}

func TestAReaderThatComesLateSeesEveryStepAndTheLastBytes(t *testing.T) {
	op := newOperation("upgrade", newJournal("boot-1"))
	for _, step := range []progress.Step{"write", "verify"} {
		op.tell(stepOf(step, false))
		for n := range int64(1000) {
			op.tell(bytesOf(step, n+1))
		}
		op.tell(stepOf(step, true))
	}
	op.end(errSick)
	var seen []string
	var last uint64
	collect := func(e Event) error {
		p := e.Told.(Progress)
		require.Greater(t, e.ID, last)
		last = e.ID
		switch {
		case p.Done:
			seen = append(seen, string(p.Step)+" done")
		case p.Bytes > 0:
			require.EqualValues(t, 1000, p.Bytes)
			seen = append(seen, string(p.Step)+" bytes")
		default:
			seen = append(seen, string(p.Step))
		}
		return nil
	}
	require.ErrorIs(t, op.Follow(t.Context(), 0, collect), errSick)
	require.Equal(t, []string{"write", "write bytes", "write done", "verify", "verify bytes", "verify done"}, seen)

	seen, last = nil, 0
	require.ErrorIs(t, op.Follow(t.Context(), 1002, collect), errSick, "a reader that comes back names what it had")
	require.Equal(t, []string{"verify", "verify bytes", "verify done"}, seen)
}

func TestAReaderThatLeavesDoesNotEndTheOperation(t *testing.T) {
	op := newOperation("upgrade", newJournal("boot-1"))
	op.tell(stepOf("write", false))
	gone := errors.New("gone")
	require.ErrorIs(t, op.Follow(t.Context(), 0, func(Event) error { return gone }), gone)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, op.Follow(ctx, 1, nil), context.Canceled)
	over, _ := op.result()
	require.False(t, over)
}

func TestReadersFollowLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := newOperation("upgrade", newJournal("boot-1"))
		var seen []progress.Step
		result := make(chan error, 1)
		go func() {
			result <- op.Follow(t.Context(), 0, func(e Event) error {
				seen = append(seen, e.Told.(Progress).Step)
				return nil
			})
		}()
		for _, step := range []progress.Step{"a", "b", "c"} {
			op.tell(stepOf(step, true))
			synctest.Wait()
			require.Equal(t, step, seen[len(seen)-1])
		}
		op.end(nil)
		require.NoError(t, <-result)
	})
}

func TestTheQueueLetsOneThroughAndNamesIt(t *testing.T) {
	q := newQueue()
	op, running := q.latest()
	require.Nil(t, op)
	require.False(t, running)
	require.NoError(t, q.enter(newOperation("upgrade to os:2", newJournal("boot-1"))))
	err := q.enter(newOperation("rollback", newJournal("boot-1")))
	require.ErrorIs(t, err, ErrBusy)
	require.ErrorContains(t, err, "rollback: upgrade to os:2 has been running since")

	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan error)
	go func() { entered <- q.enterWhenFree(ctx, newOperation("confirm", newJournal("boot-1"))) }()
	q.leave()
	require.NoError(t, <-entered)
	cancel()
	require.ErrorIs(t, q.enterWhenFree(ctx, newOperation("other", newJournal("boot-1"))), ErrBusy)
	require.ErrorIs(t, q.enterSoon(t.Context(), newOperation("other", newJournal("boot-1"))), ErrBusy,
		"an operation is not waited for")
	q.leave()
	op, running = q.latest()
	require.Equal(t, "confirm", op.name)
	require.False(t, running)
}

func TestAnOrderWaitsForWhatTheServiceDoesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake().onTrial()
		f.hang["confirm"] = make(chan struct{})
		s := f.server(t, Config{})
		_, err := s.Start(t.Context())
		require.NoError(t, err)
		go func() { _ = s.Prove(t.Context()) }()
		synctest.Wait()
		entered := make(chan error, 1)
		go func() {
			_, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2"})
			entered <- err
		}()
		synctest.Wait()
		require.Empty(t, entered)
		close(f.hang["confirm"])
		require.NoError(t, <-entered)
	})
}

func TestARestartWaitsForItsReadersButNotForEver(t *testing.T) {
	for name, test := range map[string]struct{ slow, after time.Duration }{
		"a slow reader":   {time.Second, time.Second + grace},
		"a stuck reader":  {time.Hour, readersGrace + grace},
		"no slow readers": {0, grace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				begun := time.Now()
				var at time.Duration
				s := f.server(t, Config{Reboot: func(context.Context, string) error {
					at = time.Since(begun)
					return nil
				}})
				op, err := s.Upgrade(t.Context(), UpgradeRequest{Image: "os:2", Reboot: true})
				require.NoError(t, err)
				require.NoError(t, op.Follow(t.Context(), 0, func(e Event) error {
					if _, armed := e.Told.(Armed); armed {
						time.Sleep(test.slow)
					}
					return nil
				}))
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, test.after, at)
			})
		})
	}
}
