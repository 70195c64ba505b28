package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
)

// serve serves s on loopback and returns a client of it.
func serve(t *testing.T, s *Server, options ...connect.ClientOption) pawlv1.NodeClient {
	l, err := Listen(t.Context(), "127.0.0.1:0", false)
	require.NoError(t, err)
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(len(options) == 0)
	transport.Protocols.SetUnencryptedHTTP2(len(options) > 0)
	t.Cleanup(transport.CloseIdleConnections)
	return pawlv1.NewNodeClient(&http.Client{Transport: transport}, "http://"+l.Addr().String(), options...)
}

// receive reads a stream to its end.
func receive(t *testing.T, stream *connect.ServerStreamForClient[pawlv1.Event]) (events []*pawlv1.Event, err error) {
	for stream.Receive() {
		events = append(events, stream.Msg())
	}
	err = stream.Err()
	require.NoError(t, stream.Close())
	return events, err
}

func kindOf(t *testing.T, err error) string {
	var wire *connect.Error
	require.ErrorAs(t, err, &wire)
	require.Len(t, wire.Details(), 1)
	v, err := wire.Details()[0].Value()
	require.NoError(t, err)
	return v.(*pawlv1.Error).Kind
}

// until waits for something that another goroutine brings about.
func until(t *testing.T, what string, is func() bool) {
	require.Eventually(t, is, 5*time.Second, time.Millisecond, what)
}

func TestAnUpgradeOverEveryProtocol(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{
		"connect":  nil,
		"gRPC":     {connect.WithGRPC()},
		"gRPC-Web": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			node := serve(t, f.server(t, Config{}), options...)
			v, err := node.Version(t.Context(), &pawlv1.VersionRequest{})
			require.NoError(t, err)
			require.Equal(t, "boot-1", v.BootId)
			require.EqualValues(t, 1, v.Api)

			p, err := node.Plan(t.Context(), &pawlv1.PlanRequest{Image: "os:2"})
			require.NoError(t, err)
			require.Equal(t, "sha256:2", p.Plan.Image)
			require.Equal(t, []string{"resolve", "write", "arm", "reboot"}, p.Plan.Steps)

			stream, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2", Reboot: true})
			require.NoError(t, err)
			events, err := receive(t, stream)
			require.NoError(t, err)
			require.Equal(t, "2", events[2].GetPlan().Version, "the plan comes before anything is written")
			armed := events[len(events)-1].GetArmed()
			require.True(t, armed.Rebooting)
			require.Equal(t, "boot-1 2 sha256:2 B a", fmt.Sprint(armed.Expected.BootId, " ", armed.Expected.Version, " ",
				armed.Expected.Image, " ", armed.Expected.Slot, " ", armed.Expected.Attempt))
			until(t, "the restart", func() bool { return len(f.rebooted()) == 1 })
			require.Equal(t, []string{"plan", "plan", "prepare", "arm"}, f.called())

			_, err = node.Reboot(t.Context(), &pawlv1.RebootRequest{})
			require.Equal(t, connect.CodeAborted, connect.CodeOf(err), "a node that restarts takes no more orders")
		})
	}
}

func TestAnyHTTPClientCanAsk(t *testing.T) {
	s := newFake().server(t, Config{})
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(t.Context(), "unix:"+path, false)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	r, err := client.Post("http://node/pawl.v1.Node/Status", "application/json", bytes.NewBufferString("{}"))
	require.NoError(t, err)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	require.Contains(t, string(body), `"bootId":"boot-1"`)
	client.CloseIdleConnections()
	cancel()
	require.NoError(t, <-served)
	require.NoFileExists(t, path)
}

func TestOneOperationAtATime(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	node := serve(t, f.server(t, Config{}))
	first, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	until(t, "prepare", func() bool { return len(f.called()) == 2 })

	for name, ask := range map[string]func() error{
		"upgrade": func() error {
			second, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:3"})
			require.NoError(t, err)
			_, err = receive(t, second)
			return err
		},
		"rollback": func() error {
			second, err := node.Rollback(t.Context(), &pawlv1.RollbackRequest{})
			require.NoError(t, err)
			_, err = receive(t, second)
			return err
		},
		"reboot": func() error {
			_, err := node.Reboot(t.Context(), &pawlv1.RebootRequest{})
			return err
		},
	} {
		err := ask()
		require.Equal(t, connect.CodeAborted, connect.CodeOf(err), name)
		require.Equal(t, "busy", kindOf(t, err))
		require.ErrorContains(t, err, "upgrade to os:2 has been running since")
	}

	st, err := node.Status(t.Context(), &pawlv1.StatusRequest{})
	require.NoError(t, err, "status answers meanwhile")
	require.Equal(t, "A", st.Active)
	require.True(t, st.Operation.Running)
	require.Equal(t, "write", st.Operation.Progress.Step)
	require.EqualValues(t, 100, st.Operation.Progress.Bytes)

	f.mu.Lock()
	f.fail["status"] = errSick // the disk is being changed under the reader
	f.mu.Unlock()
	st, err = node.Status(t.Context(), &pawlv1.StatusRequest{})
	require.NoError(t, err)
	require.Contains(t, st.Warnings[0], "the disk smells")
	require.Equal(t, "boot-1", st.BootId)
	f.mu.Lock()
	delete(f.fail, "status")
	f.mu.Unlock()

	_, err = node.Plan(t.Context(), &pawlv1.PlanRequest{Image: "os:2"})
	require.NoError(t, err, "a plan needs no turn")
	close(f.hang["prepare"])
	_, err = receive(t, first)
	require.NoError(t, err)
	until(t, "the end", func() bool {
		st, err := node.Status(t.Context(), &pawlv1.StatusRequest{})
		return err == nil && !st.Operation.Running
	})
	require.Empty(t, f.rebooted(), "no restart was asked for")
}

func TestACallerThatGoesAway(t *testing.T) {
	for name, attached := range map[string]bool{"the upgrade goes on": false, "attached: the upgrade ends": true} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.hang["prepare"] = make(chan struct{})
			s := f.server(t, Config{})
			node := serve(t, s)
			ctx, leave := context.WithCancel(t.Context())
			stream, err := node.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2", Reboot: true, Attached: attached})
			require.NoError(t, err)
			until(t, "prepare", func() bool { return len(f.called()) == 2 })
			op, _ := s.queue.latest()
			leave()
			_ = stream.Close()
			if attached {
				<-op.ended
				_, err := op.result()
				require.ErrorIs(t, err, context.Canceled)
				require.NotContains(t, f.called(), "arm")
				return
			}
			until(t, "the reader's end", func() bool { op.mu.Lock(); defer op.mu.Unlock(); return op.readers == 0 })
			close(f.hang["prepare"])
			until(t, "the restart", func() bool { return len(f.rebooted()) == 1 })
			require.Contains(t, f.called(), "arm")
		})
	}
}

func TestErrorsKeepTheirTextAndKind(t *testing.T) {
	for _, k := range kinds {
		f := newFake()
		f.fail["prepare"] = fmt.Errorf("upgrade to os:2: write: %w (do this)", k.err)
		node := serve(t, f.server(t, Config{}))
		stream, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2", Reboot: true})
		require.NoError(t, err)
		_, err = receive(t, stream)
		require.Equal(t, k.code, connect.CodeOf(err))
		require.Equal(t, k.kind, kindOf(t, err))
		require.ErrorContains(t, err, "upgrade to os:2: write: "+k.err.Error()+" (do this)")
		require.NotContains(t, f.called(), "arm")
		require.Empty(t, f.rebooted())
		st, err := node.Status(t.Context(), &pawlv1.StatusRequest{})
		require.NoError(t, err)
		require.Contains(t, st.Operation.Error, "(do this)", "who comes later sees it too")
	}
	require.Equal(t, "unknown", Kind(errSick))
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	f := newFake()
	node := serve(t, f.server(t, Config{}))
	for image, kind := range map[string]string{"": "request", "os:nowhere": "image-not-found"} {
		stream, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: image, Reboot: true})
		require.NoError(t, err)
		_, err = receive(t, stream)
		require.Equal(t, kind, kindOf(t, err))
		_, err = node.Plan(t.Context(), &pawlv1.PlanRequest{Image: image})
		require.Equal(t, kind, kindOf(t, err))
	}
	require.Empty(t, f.called())
	require.Empty(t, f.rebooted())
	f.fail["open"] = errSick
	_, err := node.Status(t.Context(), &pawlv1.StatusRequest{})
	require.ErrorContains(t, err, "the disk smells")
	_, err = node.Version(t.Context(), &pawlv1.VersionRequest{})
	require.NoError(t, err, "version needs no disk")
}

func TestReboot(t *testing.T) {
	f := newFake()
	f.fail["reboot"] = errSick
	node := serve(t, f.server(t, Config{}))
	r, err := node.Reboot(t.Context(), &pawlv1.RebootRequest{})
	require.NoError(t, err)
	require.Equal(t, "A", r.Expected.Slot)
	require.Equal(t, "sha256:1", r.Expected.Image)
	require.False(t, r.Expected.Trial)
	until(t, "a restart that fails is told, and frees the node", func() bool {
		st, err := node.Status(t.Context(), &pawlv1.StatusRequest{})
		return err == nil && !st.Operation.Running && st.Operation.Error == "restart the machine: the disk smells"
	})
	f.mu.Lock()
	delete(f.fail, "reboot")
	f.status.Loader.Armed, f.status.Loader.Tries = "B", 1
	f.status.Attempt = &upgrade.Attempt{ID: "a", Phase: upgrade.Armed, To: "B", Version: "2", Image: "sha256:2"}
	f.mu.Unlock()
	r, err = node.Reboot(t.Context(), &pawlv1.RebootRequest{})
	require.NoError(t, err)
	require.True(t, r.Expected.Trial, "what is armed boots next")
	require.Equal(t, "sha256:2", r.Expected.Image)
	until(t, "the restart", func() bool { return len(f.rebooted()) == 2 })
}

func TestAForcedRebootDoesNotWait(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	node := serve(t, f.server(t, Config{}))
	_, err := node.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"})
	require.NoError(t, err)
	until(t, "prepare", func() bool { return len(f.called()) == 2 })
	_, err = node.Reboot(t.Context(), &pawlv1.RebootRequest{Force: true})
	require.NoError(t, err)
	until(t, "the restart", func() bool { return len(f.rebooted()) == 1 })
}

func TestCloseEndsWhatRuns(t *testing.T) {
	f := newFake()
	f.hang["prepare"] = make(chan struct{})
	s := f.server(t, Config{})
	op, err := s.Upgrade(s.ctx, &pawlv1.UpgradeRequest{Image: "os:2", Reboot: true})
	require.NoError(t, err)
	until(t, "prepare", func() bool { return len(f.called()) == 2 })
	require.NoError(t, s.Close())
	over, err := op.result()
	require.True(t, over)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, f.rebooted())
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "which disk")
	_, err = New(Config{Disk: "d", Checks: []Check{{Name: "x"}}})
	require.ErrorContains(t, err, "a check needs a name")
}

// TestAMachineThatCannotBeOpened: PID 1 must not die of it.
func TestAMachineThatCannotBeOpened(t *testing.T) {
	f := newFake()
	s, err := New(Config{Disk: filepath.Join(t.TempDir(), "none")})
	require.NoError(t, err)
	s.pull = f.server(t, Config{}).pull
	for name, order := range map[string]func() (*Operation, error){
		"upgrade":  func() (*Operation, error) { return s.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"}) },
		"rollback": func() (*Operation, error) { return s.Rollback(t.Context(), &pawlv1.RollbackRequest{}) },
	} {
		op, err := order()
		require.NoError(t, err, name)
		require.ErrorContains(t, op.Follow(t.Context(), 0, func(*pawlv1.Event) error { return nil }), "no such file", name)
	}
}
