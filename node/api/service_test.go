package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade"
	"github.com/pawl-os/pawl/upgrade/progress"
	"github.com/pawl-os/pawl/upgrade/report"
)

// A system with an API of its own links neither protobuf nor connect.
func TestTheServiceIsHadWithoutTheWire(t *testing.T) {
	for _, pkg := range []string{"node", "node/hookdir", "node/watchdog"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/pawl-os/pawl/"+pkg).Output()
		require.NoError(t, err)
		for dep := range strings.Lines(string(out)) {
			if strings.Contains(dep, "protobuf") || strings.Contains(dep, "connectrpc") ||
				strings.Contains(dep, "pawlv1") {
				t.Errorf("%s links %s", pkg, strings.TrimSpace(dep))
			}
		}
	}
}

func TestCallsOverEveryProtocol(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{
		"connect":  nil,
		"gRPC":     {connect.WithGRPC()},
		"gRPC-Web": {connect.WithGRPCWeb()},
		"JSON":     {connect.WithProtoJSON()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			s.plan = func(r node.PlanRequest) (node.Plan, error) {
				return node.Plan{Plan: upgrade.Plan{Image: "sha256:2", Reference: r.Image,
					Steps: []progress.Step{"resolve", "arm"}}}, nil
			}
			s.events = func(_ context.Context, from node.Since, each func(node.Event) error) error {
				for _, told := range []node.Told{node.Turn{}, node.Notice("a"),
					node.Turn{Done: true, Err: upgrade.ErrSame}} {
					if err := each(node.Event{ID: from.ID + 1, Told: told}); err != nil {
						return err
					}
				}
				return errSick
			}
			c := serve(t, newAPI(s, Options{}), options...)
			v, err := c.Version(t.Context(), &pawlv1.VersionRequest{})
			require.NoError(t, err)
			require.Equal(t, "boot-1", v.BootId)
			require.EqualValues(t, 1, v.Api)
			p, err := c.Plan(t.Context(), &pawlv1.PlanRequest{Image: "os:2"})
			require.NoError(t, err)
			require.Equal(t, "os:2", p.Plan.Reference)
			require.Equal(t, []string{"resolve", "arm"}, p.Plan.Steps)
			stream, err := c.Events(t.Context(), &pawlv1.EventsRequest{Since: 6})
			require.NoError(t, err)
			events, err := receive(t, stream)
			require.ErrorContains(t, err, "the disk smells")
			require.Equal(t, "unknown", kindOf(t, err))
			require.Len(t, events, 3)
			require.EqualValues(t, 7, events[0].Id)
			require.Equal(t, "a", events[1].GetNotice().Text)
			require.Equal(t, "same", events[2].GetSequence().Kind)
		})
	}
}

func TestAnyHTTPClientCanAsk(t *testing.T) {
	s := newStub(t)
	s.status = func() (node.Status, error) { return node.Status{Status: report.Status{BootID: "boot-1"}}, nil }
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(t.Context(), "unix:"+path, false)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- newAPI(s, Options{}).Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
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

func TestTheHandlerInAServerOfTheEmbeddersOwn(t *testing.T) {
	s := newStub(t)
	s.status = func() (node.Status, error) { return node.Status{Status: report.Status{BootID: "boot-1"}}, nil }
	h := newAPI(s, Options{}).Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reader := access.Caller{Name: "who has a cookie", Role: access.Reader}
		h.ServeHTTP(w, r.WithContext(access.With(r.Context(), reader)))
	}))
	defer server.Close()
	code, body := post(t, server.Listener.Addr(), "Status", "{}", nil)
	require.Equal(t, http.StatusOK, code, body)
	require.Contains(t, body, `"bootId":"boot-1"`)
}

func TestErrorsKeepTheirTextAndKind(t *testing.T) {
	all := node.ErrorKinds()
	all["too-many"], all["host"] = []error{ErrTooMany}, []error{ErrHost}
	all["denied"], all["caller-unknown"] = []error{access.ErrDenied}, []error{access.ErrUnknown}
	s := newStub(t)
	c := serve(t, newAPI(s, Options{}))
	for kind, errs := range all {
		for _, why := range errs {
			s.plan = func(node.PlanRequest) (node.Plan, error) {
				return node.Plan{}, fmt.Errorf("plan: %w (do this)",
					why)
			}
			_, err := c.Plan(t.Context(), &pawlv1.PlanRequest{})
			require.Equal(t, kind, kindOf(t, err))
			require.ErrorContains(t, err, "plan: "+why.Error()+" (do this)")
			want, ok := codes[kind]
			if !ok {
				want = connect.CodeFailedPrecondition
			}
			require.Equal(t, want, connect.CodeOf(err))
		}
	}
	for kind := range codes {
		require.True(t, kind == "unknown" || len(all[kind]) > 0, "a code for %s, which is no kind", kind)
	}
	require.Equal(t, "unknown", ErrorKind(errSick))
}

// An upgrade outlives the call, unless the call says otherwise.
func TestAnUpgradeIsTiedToItsCallerOnlyIfAsked(t *testing.T) {
	for name, attached := range map[string]bool{"it goes on": false, "attached: it ends": true} {
		t.Run(name, func(t *testing.T) {
			s, lives := newStub(t), make(chan context.Context, 1)
			s.upgrade = func(ctx context.Context, r node.UpgradeRequest) (*node.Operation, error) {
				require.Equal(t, attached, r.Attached)
				lives <- ctx
				return nil, errSick
			}
			ctx, leave := context.WithCancel(t.Context())
			err := newService(s).Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2", Attached: attached}, nil)
			require.ErrorIs(t, err, errSick)
			leave()
			require.Equal(t, attached, (<-lives).Err() != nil)
		})
	}
}

// calls are those of the API that tell of the machine or change it.
var calls = map[string]func(context.Context, service) error{
	"status": func(ctx context.Context, v service) error { _, err := v.Status(ctx, nil); return err },
	"doctor": func(ctx context.Context, v service) error { _, err := v.Doctor(ctx, nil); return err },
	"plan": func(ctx context.Context, v service) error {
		_, err := v.Plan(ctx, &pawlv1.PlanRequest{Image: "os:2"})
		return err
	},
	"upgrade": func(ctx context.Context, v service) error {
		return v.Upgrade(ctx, &pawlv1.UpgradeRequest{Image: "os:2"}, nil)
	},
	"rollback": func(ctx context.Context, v service) error {
		return v.Rollback(ctx, &pawlv1.RollbackRequest{},
			nil)
	},
	"cancel stage": func(ctx context.Context, v service) error { _, err := v.CancelStage(ctx, nil); return err },
	"confirm":      func(ctx context.Context, v service) error { _, err := v.Confirm(ctx, nil); return err },
	"repair":       func(ctx context.Context, v service) error { _, err := v.Repair(ctx, nil); return err },
	"reboot": func(ctx context.Context, v service) error {
		_, err := v.Reboot(ctx, &pawlv1.RebootRequest{})
		return err
	},
}

func TestNothingIsToldOfTheMachineAndNothingIsDoneBeforeStart(t *testing.T) {
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStub(t)
				s.starting = true
				begin := time.Now()
				err := call(t.Context(), newService(s))
				require.ErrorIs(t, err, node.ErrStarting)
				require.Equal(t, "starting", kindOf(t, err))
				require.Equal(t, startTime, time.Since(begin))
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				require.ErrorIs(t, call(ctx, newService(s)), context.DeadlineExceeded, "a caller who waits for less")
				v, err := newService(s).Version(t.Context(), nil)
				require.NoError(t, err)
				require.Equal(t, "boot-1", v.BootId)
			})
		})
	}
}
