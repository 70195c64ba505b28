package talos

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/bootloader"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/upgrade/attempt"
)

// stub is a node that tells what a test says.
type stub struct {
	server
	mu     sync.Mutex
	past   []node.Event
	come   chan node.Event
	status node.Status
	booted chan struct{} // is closed once this boot is recorded
	asked  []node.UpgradeRequest
}

var errAsked = errors.New("that was all")

func newStub(past ...node.Event) *stub {
	for i := range past {
		past[i].ID, past[i].BootID = uint64(i+1), "boot-2"
	}
	booted := make(chan struct{})
	close(booted)
	s := &stub{past: past, come: make(chan node.Event), booted: booted}
	s.status.BootID, s.status.Version = "boot-2", "1.2.3"
	s.status.Loader = bootloader.State{Active: "A", Default: "A"}
	return s
}

func (s *stub) About() node.About { return node.About{BootID: "boot-2"} }

func (s *stub) Recorded(ctx context.Context) error {
	select {
	case <-s.booted:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *stub) Status(context.Context) (node.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, nil
}

// is sets what the node is.
func (s *stub) is(set func(*node.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set(&s.status)
}

// settle returns once all that came before was passed on.
func (s *stub) settle() {
	for range 2 {
		s.come <- node.Event{Told: node.Call{}}
	}
}

func (s *stub) Upgrade(_ context.Context, r node.UpgradeRequest) (*node.Operation, error) {
	s.asked = append(s.asked, r)
	return nil, errAsked
}

func (s *stub) Events(ctx context.Context, from node.Since, each func(node.Event) error) error {
	for _, e := range s.past {
		if e.ID > from.ID {
			if err := each(e); err != nil {
				return err
			}
		}
	}
	for from.Follow {
		select {
		case e := <-s.come:
			if err := each(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// serve serves the stub without TLS, to a caller who may do all.
func serve(t *testing.T, s *stub, o Options) *caller {
	m := newMachine(s, func(string) bool { return true }, o)
	m.every = 5 * time.Millisecond
	mux := http.NewServeMux()
	m.service().Add(mux, connect.WithHandlerOptions())
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: new(net.Dialer).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{http: &http.Client{Transport: transport}, base: server.URL}
}

// follow opens a stream of events, and returns what reads the next of them: "RUNNING ready", "upgrade: it smells".
func follow(t *testing.T, c *caller, request ...[]byte) (next func() string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	var body []byte
	for _, field := range request {
		body = append(body, field...)
	}
	r, err := c.open(ctx, "/machine.MachineService/Events", body)
	require.NoError(t, err)
	first, err := r.next()
	require.NoError(t, err)
	require.Empty(t, first, "the first message is empty")
	return func() string {
		e, err := r.next()
		require.NoError(t, err)
		value, actor := []byte(at(e, 2, 2)), ""
		if at(e, 4) != "" {
			actor = " (of somebody)"
		}
		switch at(e, 2, 1) {
		case "talos/runtime/machine.MachineStatusEvent":
			return "stage " + at(value, 1) + " ready " + at(value, 2, 1) + actor
		case "talos/runtime/machine.SequenceEvent":
			return at(value, 1) + ": " + at(value, 3, 2) + actor
		}
		return at(e, 2, 1) + actor
	}
}

const ready = "stage 4 ready 1"

// A replay begins at the latest order, and a client that asks for all hears of nobody.
func TestAReplayBeginsAtTheLatestOrder(t *testing.T) {
	sick := errors.New("it smells")
	s := newStub(turn("upgrade to os:1"), over("upgrade to os:1", errors.New("the first")), turn("upgrade to os:2"),
		over("upgrade to os:2", sick), turn("set META value 0x0c"), over("set META value 0x0c", nil))
	s.status.Attempt = &attempt.Attempt{State: attempt.Ended, Result: attempt.FellBack, Reason: "before all that",
		Boots: attempt.Boots{Ended: "boot-2"}}
	c := serve(t, s, Options{})
	next := follow(t, c, f(1, -1))
	require.Equal(t, []string{"upgrade: ", "upgrade: it smells", ready}, []string{next(), next(), next()})
	next = follow(t, c, f(1, 1))
	require.Equal(t, []string{"upgrade: it smells (of somebody)", ready}, []string{next(), next()})

	s = newStub()
	s.status.Attempt = &attempt.Attempt{Kind: attempt.Upgrade, State: attempt.Ended, Result: attempt.FellBack,
		Version: "2", Reason: "it smells", Boots: attempt.Boots{Ended: "boot-2"}}
	next = follow(t, serve(t, s, Options{}), f(1, -1))
	require.Equal(t, []string{"upgrade: to 2: fell back: it smells", ready}, []string{next(), next()},
		"with no order in this boot, what became of the one before comes first")
}

// While an order is underway as far as it was told, nothing says that the machine runs and is ready, whatever its
// status.
func TestTheEndOfAnOrderComesBeforeTheState(t *testing.T) {
	s := newStub(turn("upgrade to os:2"))
	next := follow(t, serve(t, s, Options{}), f(1, -1))
	require.Equal(t, []string{"upgrade: ", "stage 8 ready "}, []string{next(), next()})
	time.Sleep(50 * time.Millisecond) // the state is looked at every 5 ms
	s.come <- node.Event{ID: 9, BootID: "boot-2", Operation: "upgrade to os:2", Told: node.Turn{Done: true,
		Err: errors.New("it smells")}}
	require.Equal(t, []string{"upgrade: it smells", ready}, []string{next(), next()})
}

// Who asked for no past may be about to order something, and would take it as his success that the machine runs.
func TestTheEndOfAnotherOrderIsNoSuccess(t *testing.T) {
	s := newStub()
	next := follow(t, serve(t, s, Options{}))
	s.settle()
	s.is(func(st *node.Status) { st.Operation = running("upgrade to os:2") })
	begin := turn("upgrade to os:2")
	begin.ID, begin.BootID = 1, "boot-2"
	s.come <- begin
	require.Equal(t, []string{"upgrade:  (of somebody)", "stage 8 ready  (of somebody)"}, []string{next(), next()})
	s.is(func(st *node.Status) { st.Operation = nil })
	end := over("upgrade to os:2", errors.New("it smells"))
	end.ID, end.BootID = 2, "boot-2"
	s.come <- end
	require.Equal(t, "upgrade: it smells (of somebody)", next())
	s.settle()
	s.is(func(st *node.Status) { st.Loader.Default = "B" })
	s.come <- node.Event{ID: 3, BootID: "boot-2", Operation: "confirm", Told: node.Turn{}}
	require.Equal(t, "stage 1 ready ", next(), "and nothing was told of a machine that is ready")
}

// EPHEMERAL is kept, unless the node was told that its clients mean to wipe it.
func TestAnUpgradeKeepsEphemeral(t *testing.T) {
	for _, test := range []struct{ wipe, preserve, keeps bool }{
		{false, false, true}, {false, true, true}, {true, false, false}, {true, true, true},
	} {
		s := newStub()
		_, err := serve(t, s, Options{Wipe: test.wipe}).call(t.Context(), "/machine.MachineService/Upgrade",
			f(1, "os:2"), f(2, test.preserve), f(3, true), f(4, true), f(5, 1))
		require.ErrorContains(t, err, errAsked.Error())
		require.Equal(t, []node.UpgradeRequest{{Image: "os:2", Preserve: test.keeps, Stage: true, Force: true,
			Reboot: true, Mode: node.ModePowercycle}}, s.asked)
	}
}

// A client decides by the tag how it goes on, so it waits for it.
func TestTheTagWaitsForTheBootToBeRecorded(t *testing.T) {
	s := newStub()
	s.booted = make(chan struct{})
	time.AfterFunc(3*soon, func() { close(s.booted) })
	c := serve(t, s, Options{})
	require.Equal(t, "v1.2.3", at(c.one(t, "/machine.MachineService/Version"), 1, 2, 1))
}
