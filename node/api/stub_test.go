package api

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

var errSick = errors.New("the disk smells")

// stub is a node whose answers a test gives. The rest is that of a node whose disk is not there. What happens to a real
// one is tested in cmd/pawl.
type stub struct {
	*node.Server
	starting bool
	status   func() (node.Status, error)
	doctor   func() (doctor.Diagnosis, error)
	plan     func(node.PlanRequest) (node.Plan, error)
	upgrade  func(context.Context, node.UpgradeRequest) (*node.Operation, error)
	events   func(ctx context.Context, from node.Since, each func(node.Event) error) error
}

func newStub(t *testing.T) *stub {
	s, err := node.New(node.Config{Disk: filepath.Join(t.TempDir(), "none"),
		Machine: upgrade.OpenOptions{BootID: "boot-1"},
		Reboot:  func(context.Context, string) error { return errSick }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &stub{Server: s}
}

func (s *stub) Recorded(ctx context.Context) error {
	if !s.starting {
		return nil
	}
	return s.Server.Recorded(ctx)
}

func (s *stub) StartClock() {}

func (s *stub) Status(ctx context.Context) (node.Status, error) {
	if s.status == nil {
		return s.Server.Status(ctx)
	}
	return s.status()
}

func (s *stub) Doctor(ctx context.Context) (doctor.Diagnosis, error) {
	if s.doctor == nil {
		return s.Server.Doctor(ctx)
	}
	return s.doctor()
}

func (s *stub) Plan(ctx context.Context, r node.PlanRequest) (node.Plan, error) {
	if s.plan == nil {
		return s.Server.Plan(ctx, r)
	}
	return s.plan(r)
}

func (s *stub) Upgrade(ctx context.Context, r node.UpgradeRequest) (*node.Operation, error) {
	if s.upgrade == nil {
		return s.Server.Upgrade(ctx, r)
	}
	return s.upgrade(ctx, r)
}

func (s *stub) Events(ctx context.Context, from node.Since, each func(node.Event) error) error {
	if s.events == nil {
		return s.Server.Events(ctx, from, each)
	}
	return s.events(ctx, from, each)
}

// serve serves s on loopback and returns a client of it.
func serve(t *testing.T, a *API, options ...connect.ClientOption) pawlv1.NodeClient {
	l, err := Listen(t.Context(), "127.0.0.1:0", false)
	require.NoError(t, err)
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- a.Serve(ctx, l) }()
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

func newService(s server) service { return service{s: s, access: new(access.Control)} }
