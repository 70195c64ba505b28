package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/pawl-os/pawl/cluster"
	"github.com/pawl-os/pawl/cluster/etcd"
	"github.com/pawl-os/pawl/cluster/internal/real"
	"github.com/pawl-os/pawl/cluster/lock"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// places are the phases in which something goes wrong, as each begins.
var places = []string{
	"upgrade/prepare", "upgrade/lock", "upgrade/cordon", "upgrade/drain", "upgrade/leave", "upgrade/load",
	"upgrade/last", "upgrade/arm",
	"trial/checks", "settle/rejoin", "settle/uncordon", "settle/unlock",
}

// faults are what goes wrong, for two seconds. A machine whose power is cut never goes on.
var faults = map[string]func(*stage){
	"its power is cut":      func(s *stage) { s.cut() },
	"its member is killed":  func(s *stage) { s.members[0].Kill(); s.later(func() { s.power(true) }) },
	"its member is paused":  func(s *stage) { s.members[0].Pause(); s.later(s.members[0].Continue) },
	"its service is killed": func(s *stage) { s.kill() },
	"the leader is killed": func(s *stage) {
		m := s.leader()
		s.members[m].Kill()
		s.without(m)
		s.later(func() { s.members[m].Start() })
	},
	"another one is killed": func(s *stage) {
		s.members[1].Kill()
		s.without(1)
		s.later(s.members[1].Start)
	},
	"another one is paused": func(s *stage) {
		s.members[2].Pause()
		s.without(2)
		s.later(s.members[2].Continue)
	},
	"no space is left":        func(s *stage) { s.alarm(true); s.later(func() { s.alarm(false) }) },
	"a person frees its slot": func(s *stage) { s.free() },
}

// stage is a cell: one machine with one of three members of etcd, and another node of its pool that wants to go, too.
type stage struct {
	*machine
	members []*real.Member
	etcd    *etcd.Cluster
	pool    lock.Pool
	others  lock.Pool                   // as the other node has it
	by      func() string               // the attempt by which the node is cordoned; empty: it is not
	whole   func(context.Context) error // why what it takes part in is not as it should be
	after   sync.WaitGroup
	other   atomic.Int32 // how often the other node had the slot
	fired   atomic.Bool
	ended   atomic.Bool // the first is done
	wrong   bool        // a person has taken the slot from the first
	away    atomic.Bool // so many voters that the quorum is lost without its own
}

// without has the machine stay up for two seconds, if the fault has taken so many other voters than its own before the
// machine looked for the last time that to go then is to lose the quorum.
func (s *stage) without(members ...int) {
	left := len(s.members) - 1
	for _, m := range members {
		if m != 0 {
			left--
		}
	}
	if left < len(s.members)/2+1 {
		s.away.Store(true)
	}
}

// later is two seconds on.
func (s *stage) later(do func()) {
	s.after.Go(func() {
		time.Sleep(2 * time.Second)
		s.away.Store(false)
		do()
	})
}

func (s *stage) cut() {
	off := make(chan error, 1)
	s.after.Go(func() { // known before the power goes, which ends the upgrade: the cell waits for it
		if err := errors.Join(<-off, s.on()); err != nil {
			s.t.Error(err)
		}
	})
	off <- s.machine.cut()
	select {} // nothing that ran goes on
}

// kill ends the node's service, which comes back two seconds later in the same boot. What it was in ends with it.
func (s *stage) kill() {
	off := make(chan error, 1)
	s.after.Go(func() {
		err := <-off
		time.Sleep(2 * time.Second)
		if err := errors.Join(err, s.serve()); err != nil {
			s.t.Error(err)
		}
	})
	off <- s.crash()
	select {}
}

// leader is the member that leads.
func (s *stage) leader() int {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		for i, m := range s.members {
			c, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Client}, Logger: zap.NewNop()})
			if err != nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			st, err := c.Status(ctx, m.Client)
			cancel()
			_ = c.Close()
			if err == nil && st.Leader == st.Header.MemberId {
				return i
			}
		}
	}
	s.t.Error("nobody leads")
	return 0
}

// alarm raises NOSPACE, as a member whose quota is used up does, or takes it back.
func (s *stage) alarm(on bool) {
	c, err := clientv3.New(clientv3.Config{Endpoints: real.URLs(s.members), Logger: zap.NewNop()})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer c.Close()
	request := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_DEACTIVATE,
		Alarm: etcdserverpb.AlarmType_NOSPACE, MemberID: 1}
	if on {
		request.Action = etcdserverpb.AlarmRequest_ACTIVATE
	}
	for end := time.Now().Add(30 * time.Second); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := etcdserverpb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, request)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Error(err)
			return
		}
	}
}

// free is a person who is wrong. From step down on the word is not taken.
func (s *stage) free() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	slots, err := s.pool.Slots(ctx)
	if err != nil || len(slots) == 0 || slots[0].Record.Node != "n1" {
		return
	}
	err = s.pool.ByHand(ctx, slots[0], lock.Evidence{By: "somebody"})
	down := slots[0].Record.Step == lock.Down || slots[0].Record.Step == lock.Back
	if down != errors.Is(err, lock.ErrStands) {
		s.t.Errorf("freed by hand from step %s: %v", slots[0].Record.Step, err)
	}
}

// work is a node in Kubernetes, as far as it matters here.
type work struct {
	mu       sync.Mutex
	cordoned string
}

func (w *work) Cordon(_ context.Context, attempt string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cordoned = attempt
	return nil
}
func (w *work) Drain(context.Context, func(string)) error { return nil }
func (w *work) Restarts(context.Context, string)          {}
func (w *work) Uncordon(_ context.Context, _, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cordoned = ""
	return nil
}
func (w *work) Ready(context.Context) error { return nil }
func (w *work) now() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cordoned
}

// service is the member's process, which the machine's system runs.
type service struct{ *real.Member }

func (s service) Stop(context.Context) error { s.Kill(); return nil }
func (s service) Wipe(context.Context) error { return s.Forget() }
func (s service) Start(_ context.Context, initial string) error {
	s.Member.Join(initial)
	return nil
}

// newStage has others call the members by these URLs.
func newStage(t *testing.T, from installed, members []*real.Member, others []string) *stage {
	t.Helper()
	client := func(i int, urls []string) (*etcd.Cluster, lock.Pool) {
		c, err := etcd.Open(etcd.Config{Endpoints: urls, Name: members[i].Name,
			Self: members[i].Client, Peers: []string{members[i].Peer}, Try: time.Second})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		store, err := c.Store("control-plane")
		require.NoError(t, err)
		return c, lock.Pool{Store: store, Name: "control-plane", Try: time.Second, Pause: 100 * time.Millisecond}
	}
	work := &work{}
	s := &stage{members: members, by: work.now}
	s.etcd, s.pool = client(0, real.URLs(members))
	s.whole = func(ctx context.Context) error { // all three vote and serve
		if err := s.etcd.Allow(ctx, false); err != nil {
			return err
		}
		return s.etcd.Serves(ctx)
	}
	s.machine = newMachine(t, from, cluster.Config{Node: "n1", Lock: s.pool, Members: s.etcd,
		Service: service{members[0]}, Work: work, Wait: 20 * time.Second})
	s.power = func(on bool) {
		if !on {
			members[0].Kill()
		} else if _, err := os.Stat(members[0].Dir); err == nil {
			members[0].Kill()
			members[0].Start()
		}
	}
	_, s.others = client(1, others)
	return s
}

// rival has the other node want the slot, until the test ends.
func (s *stage) rival(p lock.Pool) {
	ctx, stop := context.WithCancel(s.t.Context())
	var going sync.WaitGroup
	going.Go(func() { s.contend(ctx, p) })
	s.t.Cleanup(func() {
		stop()
		going.Wait()
		s.off()
		s.after.Wait()
	})
}

// contend is the other node: it takes the slot whenever it can, once the first has had it, and sees that the first is
// in service then, unless a person has taken the slot from it.
func (s *stage) contend(ctx context.Context, p lock.Pool) {
	seen := false
	for n := 0; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		slots, err := p.Slots(ctx)
		if err != nil {
			continue
		}
		if len(slots) > 0 && !slots[0].Record.Free() {
			seen = seen || slots[0].Record.Node == "n1"
			continue
		}
		if !seen && !s.ended.Load() {
			continue
		}
		n++
		me := lock.Owner{Node: "n2", Attempt: fmt.Sprint(n)}
		if limited, cancel := context.WithTimeout(ctx, 2*time.Second); p.Claim(limited, me) == nil {
			s.other.Add(1)
			if at := s.by(); at != "" && !s.wrong {
				s.t.Errorf("the other node has the slot while this one is cordoned by attempt %s", at)
			}
			cancel()
		} else {
			cancel()
		}
		for { // also once the cell is over: the next one begins with a free slot
			limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := p.Release(limited, me)
			cancel()
			if err == nil {
				break
			}
		}
	}
}

func TestFaultsInEveryPhase(t *testing.T) {
	from := install(t)
	g := newGrid(1, func() []*real.Member { return real.Members(t, 3) })
	g.run(t, func(t *testing.T) {
		for _, preserve := range []bool{true, false} {
			for i, place := range places {
				if preserve && place == "settle/rejoin" {
					continue // it has not left
				}
				for name, fault := range faults {
					if !long && (name != "its power is cut" || i%4 != 1) {
						continue
					}
					g.cell(t, fmt.Sprintf("preserve=%v %s: %s", preserve, strings.ReplaceAll(place, "/", " "), name),
						func(t *testing.T, members []*real.Member) attempt.Attempt {
							s := newStage(t, from, members, real.URLs(members))
							s.wrong = name == "a person frees its slot"
							return s.run(place, preserve, from.two, fault)
						})
				}
			}
		}
	})
}

// TestFiveMembersFaultsInEveryPhase is TestFaultsInEveryPhase for one of five members, of which two may be away.
func TestFiveMembersFaultsInEveryPhase(t *testing.T) {
	five := map[string]func(*stage){"two others are killed": func(s *stage) {
		s.without(1, 2)
		for _, m := range s.members[1:3] {
			m.Kill()
			s.later(m.Start)
		}
	}}
	for _, name := range []string{"its power is cut", "its member is killed", "the leader is killed",
		"another one is killed"} {
		five[name] = faults[name]
	}
	from := install(t)
	g := newGrid(1, func() []*real.Member { return real.Members(t, 5) })
	g.run(t, func(t *testing.T) {
		for _, place := range places {
			for name, fault := range five {
				if !long && !(place == "upgrade/lock" && name == "two others are killed") {
					continue
				}
				g.cell(t, strings.ReplaceAll(place, "/", " ")+": "+name,
					func(t *testing.T, members []*real.Member) attempt.Attempt {
						return newStage(t, from, members, real.URLs(members)).run(place, false, from.two, fault)
					})
			}
		}
	})
}

// run upgrades the machine, lets one thing go wrong, and sees that all is as it should be afterwards.
// watch is called as each phase begins.
func (s *stage) run(place string, preserve bool, reference string, fault func(*stage),
	watch ...func(string)) attempt.Attempt {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	s.reach = func(at string) {
		for _, w := range watch {
			w(at)
		}
		if at == place && s.fired.CompareAndSwap(false, true) {
			fault(s)
		}
	}
	s.down = func() {
		if s.away.Load() && slices.Index(places, place) <= slices.Index(places, "upgrade/last") {
			s.t.Errorf("the machine goes down although others are away since %s", place)
		}
	}
	s.rival(s.others)
	require.NoError(s.t, s.on())
	s.becomeWhole(ctx)
	for range 3 { // a member that is late, since this machine is busy, has it refused before the fault
		err := s.upgrade(ctx, reference, preserve)
		if err != nil {
			s.t.Log("the upgrade failed:", err)
		}
		if err == nil || s.fired.Load() {
			break
		}
	}
	s.after.Wait()
	last := s.settled()
	require.True(s.t, s.fired.Load(), "nothing went wrong: %s", last)
	require.Empty(s.t, s.by(), "it is not cordoned any more")
	s.becomeWhole(ctx)
	had := s.other.Load()
	s.ended.Store(true)
	require.Eventually(s.t, func() bool { return s.other.Load() > had }, 30*time.Second, 20*time.Millisecond,
		"the slot is free")
	return last
}

// becomeWhole waits until all members vote and serve.
func (s *stage) becomeWhole(ctx context.Context) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = s.whole(ctx); err == nil {
			return
		}
	}
	require.NoError(s.t, err, "the members do not serve")
}
