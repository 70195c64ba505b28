package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/cluster/quorum"
)

// open is the cluster as the node of a member sees it.
func open(t *testing.T, members []*real.Member, i int) *etcd.Cluster {
	t.Helper()
	endpoints := append([]string{members[i].Client}, real.URLs(append(append([]*real.Member{}, members[:i]...),
		members[i+1:]...))...)
	c, err := etcd.Open(etcd.Config{Endpoints: endpoints, Name: members[i].Name, Self: members[i].Client,
		Peers: []string{members[i].Peer}, Try: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func pool(t *testing.T, c *etcd.Cluster) lock.Pool {
	t.Helper()
	store, err := c.Store("control-plane")
	require.NoError(t, err)
	return lock.Pool{Store: store, Name: "control-plane", Try: time.Second, Pause: 100 * time.Millisecond}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually tries until the call succeeds: a cluster that has just started, or lost a member, needs a moment.
func eventually(t *testing.T, call func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = call(); err == nil {
			return
		}
	}
	require.NoError(t, err)
}

func TestAMemberMayGoWhileAllOthersAnswer(t *testing.T) {
	members := real.Members(t, 3)
	c := open(t, members, 0)
	ctx := t.Context()
	eventually(t, func() error { return c.Allow(ctx, false) })
	require.NoError(t, c.Allow(ctx, true))
	require.NoError(t, c.Serves(ctx))

	t.Run("not while one is paused, however short ago", func(t *testing.T) {
		members[1].Pause()
		defer members[1].Continue()
		err := c.Allow(within(t, 10*time.Second), true)
		require.ErrorIs(t, err, quorum.ErrNotNow)
		require.ErrorContains(t, err, "not healthy: m2")
		require.ErrorIs(t, c.Leave(within(t, 10*time.Second)), quorum.ErrNotNow)
	})
	t.Run("nor while one is dead", func(t *testing.T) {
		members[2].Kill()
		require.ErrorIs(t, c.Allow(within(t, 10*time.Second), false), quorum.ErrNotNow)
		members[2].Start()
		eventually(t, func() error { return c.Allow(ctx, false) })
	})
	t.Run("while its own is paused the others are asked", func(t *testing.T) {
		members[0].Pause()
		defer members[0].Continue()
		require.NoError(t, c.Allow(within(t, 20*time.Second), false))
		require.Error(t, c.Serves(within(t, 10*time.Second)))
	})
}

func TestAMemberLeavesAndComesBackAsALearner(t *testing.T) {
	members := real.Members(t, 3)
	ctx := t.Context()
	writer := write(t, members[1:])
	c := open(t, members, 0)
	eventually(t, func() error { return c.Allow(ctx, true) })
	lead(t, members, 0)
	require.NoError(t, c.Leave(within(t, 30*time.Second)))
	require.Equal(t, 0, members[0].Ended(), "a supervisor that restarts on failure leaves it")
	require.NoError(t, c.Leave(within(t, 30*time.Second)), "again, after a restart of the service")
	require.ErrorIs(t, open(t, members, 1).Allow(ctx, true), quorum.ErrNotNow, "two are left")

	initial, err := c.Join(within(t, 30*time.Second))
	require.NoError(t, err)
	again, err := c.Join(within(t, 30*time.Second))
	require.NoError(t, err)
	require.Equal(t, initial, again, "an answer that was lost")
	require.ErrorContains(t, open(t, members, 1).Allow(ctx, false), "learner")
	members[0].Join(initial)
	require.NoError(t, c.Promote(within(t, time.Minute)))
	require.NoError(t, c.Promote(within(t, time.Minute)))
	eventually(t, func() error { return c.Serves(ctx) })
	_, err = c.Join(within(t, 30*time.Second))
	require.ErrorIs(t, err, etcd.ErrIsMember)
	require.Less(t, writer(), 5*time.Second, "the longest time without a write")
}

// lead has a member lead.
func lead(t *testing.T, members []*real.Member, i int) {
	t.Helper()
	eventually(t, func() error {
		for _, m := range members {
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Client}, Logger: zap.NewNop()})
			if err != nil {
				return err
			}
			defer client.Close()
			ctx := within(t, 2*time.Second)
			own, err := client.Status(ctx, m.Client)
			if err != nil {
				return err
			}
			if own.Leader != own.Header.MemberId {
				continue
			}
			to, err := client.Status(ctx, members[i].Client)
			if err != nil || to.Header.MemberId == own.Leader {
				return err
			}
			_, err = client.MoveLeader(ctx, to.Header.MemberId)
			return err
		}
		return fmt.Errorf("nobody leads")
	})
}

// write writes all the time; what is returned ends it and says how long no write was answered, at most.
func write(t *testing.T, members []*real.Member) func() time.Duration {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: real.URLs(members), Logger: zap.NewNop()})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	longest := make(chan time.Duration, 1)
	go func() {
		last, most := time.Now(), time.Duration(0)
		for ctx.Err() == nil {
			limited, cancel := context.WithTimeout(ctx, time.Second)
			_, err := client.Put(limited, "written", "x")
			cancel()
			if err == nil {
				most, last = max(most, time.Since(last)), time.Now()
			}
		}
		_ = client.Close()
		longest <- most
	}()
	return func() time.Duration { stop(); return <-longest }
}

func TestTheLeadGoesToAVoter(t *testing.T) {
	members := real.Members(t, 3)
	c := open(t, members, 2)
	eventually(t, func() error { return c.Allow(t.Context(), false) })
	lead(t, members, 2)
	require.NoError(t, c.Yield(within(t, 20*time.Second)))
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{members[2].Client}})
	require.NoError(t, err)
	defer client.Close()
	status, err := client.Status(t.Context(), members[2].Client)
	require.NoError(t, err)
	require.NotEqual(t, status.Header.MemberId, status.Leader)
	require.NoError(t, c.Yield(within(t, 20*time.Second)), "it does not lead")
}

func TestOneOfFiveMayBeMissing(t *testing.T) {
	members := real.Members(t, 5)
	c := open(t, members, 0)
	eventually(t, func() error { return c.Allow(t.Context(), true) })
	spares, err := etcd.Open(etcd.Config{Endpoints: real.URLs(members), Name: "m1", Self: members[0].Client, Spare: 2,
		Try: time.Second})
	require.NoError(t, err)
	defer spares.Close()
	members[4].Kill()
	require.ErrorIs(t, c.Allow(within(t, 20*time.Second), false), quorum.ErrNotNow)
	require.NoError(t, spares.Allow(within(t, 20*time.Second), false))
	members[3].Kill()
	err = spares.Allow(within(t, 20*time.Second), false)
	require.ErrorContains(t, err, "2 healthy voters would remain, and 3 of 5 are needed")
}

func TestOneNodeOfAPoolHoldsAtATimeAlsoWhenTheLeaderIsLost(t *testing.T) {
	members := real.Members(t, 3)
	var holding, holds, refused atomic.Int32
	var racing sync.WaitGroup
	for i := range 3 {
		p := pool(t, open(t, members, i))
		racing.Go(func() {
			for n := range 10 {
				o := lock.Owner{Node: members[i].Name, Attempt: fmt.Sprint(n)}
				for {
					err := p.Claim(within(t, time.Minute), o)
					if err == nil {
						break
					}
					held := new(lock.HeldError)
					if !errors.As(err, &held) {
						t.Error(err)
						return
					}
					refused.Add(1)
					time.Sleep(5 * time.Millisecond)
				}
				if holding.Add(1) != 1 {
					t.Error("two hold")
				}
				for _, s := range []lock.Step{lock.Drained, lock.Down, lock.Back} {
					if err := p.Reach(within(t, time.Minute), o, s); err != nil {
						t.Error(err)
					}
				}
				holding.Add(-1)
				holds.Add(1)
				if err := p.Release(within(t, time.Minute), o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	eventually(t, func() error {
		if holds.Load() < 5 {
			return errors.New("too early")
		}
		return nil
	})
	for _, m := range members[:2] { // one of the two led, or the third does now
		m.Kill()
		m.Start()
	}
	racing.Wait()
	require.EqualValues(t, 30, holds.Load())
	slots, err := pool(t, open(t, members, 0)).Slots(t.Context())
	require.NoError(t, err)
	require.Empty(t, slots)
}

func TestALockOutlivesWhatCanHappenToItsCluster(t *testing.T) {
	members := real.Members(t, 3, "--quota-backend-bytes", "2097152")
	p := pool(t, open(t, members, 0))
	ctx := t.Context()
	mine, other := lock.Owner{Node: "n1", Attempt: "a1"}, lock.Owner{Node: "n2", Attempt: "a2"}
	require.NoError(t, p.Claim(within(t, time.Minute), mine))
	require.NoError(t, p.Claim(ctx, mine), "found again by the process that comes after a restart")
	held := new(lock.HeldError)
	require.ErrorAs(t, p.Ask(ctx, other), &held)
	require.Equal(t, mine, held.By[0].Owner)

	t.Run("its own member is paused", func(t *testing.T) {
		members[0].Pause()
		defer members[0].Continue()
		require.NoError(t, p.Reach(within(t, 20*time.Second), mine, lock.Drained))
	})
	t.Run("two of three are dead", func(t *testing.T) {
		members[1].Kill()
		members[2].Kill()
		require.Error(t, p.Reach(within(t, 3*time.Second), mine, lock.Down))
		members[1].Start()
		members[2].Start()
		require.NoError(t, p.Reach(within(t, time.Minute), mine, lock.Down))
	})
	t.Run("a person's word frees nothing that is down", func(t *testing.T) {
		slots, err := p.Slots(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, p.ByHand(ctx, slots[0], lock.Evidence{By: "somebody"}), lock.ErrStands)
	})
	t.Run("no space is left", func(t *testing.T) {
		client, err := clientv3.New(clientv3.Config{Endpoints: real.URLs(members), Logger: zap.NewNop()})
		require.NoError(t, err)
		defer client.Close()
		for i := 0; ; i++ {
			if _, err = client.Put(ctx, fmt.Sprint("fill", i), string(make([]byte, 500_000))); err != nil {
				break
			}
		}
		require.ErrorContains(t, err, "space")
		eventually(t, func() error {
			if err := open(t, members, 0).Allow(ctx, false); err == nil || !strings.Contains(err.Error(), "NOSPACE") {
				return fmt.Errorf("it may go: %w", err)
			}
			return nil
		})
		require.ErrorContains(t, p.Reach(within(t, 3*time.Second), mine, lock.Back), "space")
		require.NoError(t, p.Release(within(t, 20*time.Second), mine), "freeing works all the same")
		require.Error(t, p.Claim(within(t, 3*time.Second), other))
	})
}

func TestAHolderThatWasReleasedLearnsIt(t *testing.T) {
	members := real.Members(t, 1)
	p := pool(t, open(t, members, 0))
	ctx := within(t, time.Minute)
	mine, other := lock.Owner{Node: "n1", Attempt: "a1"}, lock.Owner{Node: "n2", Attempt: "a2"}
	require.NoError(t, p.Claim(ctx, mine))
	seen, err := p.Slots(ctx)
	require.NoError(t, err)
	require.NoError(t, p.Reach(ctx, mine, lock.Drained))
	require.ErrorIs(t, p.ByHand(ctx, seen[0], lock.Evidence{By: "somebody"}), lock.ErrMoved, "what was seen is past")
	seen, err = p.Slots(ctx)
	require.NoError(t, err)
	require.NoError(t, p.ByHand(ctx, seen[0], lock.Evidence{By: "somebody"}))
	require.NoError(t, p.Claim(ctx, other))
	require.NoError(t, p.Reach(ctx, other, lock.Drained)) // the key's own version is as before
	require.ErrorIs(t, p.Store.Write(ctx, seen[0], seen[0].Record), lock.ErrMoved)
	require.ErrorIs(t, p.Reach(ctx, mine, lock.Down), lock.ErrLost)
}
