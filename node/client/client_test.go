package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// fake is a node that answers what a test puts in.
type fake struct {
	pawlv1.UnimplementedNodeHandler
	mu      sync.Mutex
	states  []*pawlv1.StatusResponse // one for each Status; the last stays
	upgrade func(*connect.ServerStream[pawlv1.Event]) error
	starts  int // how many Status find it starting
}

func (f *fake) Version(context.Context, *pawlv1.VersionRequest) (*pawlv1.VersionResponse, error) {
	return &pawlv1.VersionResponse{BootId: "boot-1"}, nil
}

func (f *fake) Status(context.Context, *pawlv1.StatusRequest) (*pawlv1.StatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.starts--; f.starts >= 0 {
		err := connect.NewError(connect.CodeUnavailable, errors.New("the node is starting"))
		detail, _ := connect.NewErrorDetail(&pawlv1.Error{Kind: Starting})
		err.AddDetail(detail)
		return nil, err
	}
	st := f.states[0]
	if len(f.states) > 1 {
		f.states = f.states[1:]
	}
	if st == nil {
		panic(http.ErrAbortHandler) // the connection breaks
	}
	return st, nil
}

func (f *fake) Upgrade(_ context.Context, _ *pawlv1.UpgradeRequest, to *connect.ServerStream[pawlv1.Event]) error {
	return f.upgrade(to)
}

func (f *fake) client(t *testing.T) *Client { return client(t, f) }

func client(t *testing.T, node pawlv1.NodeHandler) *Client {
	mux := http.NewServeMux()
	mux.Handle(pawlv1.NewNodeHandler(node))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c, err := New(strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	return c
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"node1": "node1:7295", "10.0.0.1": "10.0.0.1:7295", "10.0.0.1:80": "10.0.0.1:80",
		"::1": "[::1]:7295", "[::1]": "[::1]:7295", "[::1]:80": "[::1]:80",
	} {
		require.Equal(t, want, withPort(address))
	}
	for _, address := range []string{"", "unix:", "ftp://node", "http://", "http://node/x", "a b", "me@node"} {
		_, err := New(address)
		require.Error(t, err, address)
	}
}

func TestErrorsNameTheNodeAndTheWayOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for name, test := range map[string]struct{ address, kind, text string }{
		"nobody listens": {closed, Unreachable, "connection refused (is it up, does pawld run there"},
		"no socket": {"unix:" + filepath.Join(t.TempDir(), "none"), Unreachable,
			"no such file or directory (is it up"},
		"nobody answers": {silent.Addr().String(), Timeout, "no answer in time"},
		"not a node":     {strings.TrimPrefix(other.URL, "http://"), Foreign, "does not speak Pawl's API"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(test.address)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err = c.Status(ctx)
			require.Equal(t, test.kind, ErrorKind(err), "%v", err)
			require.ErrorContains(t, err, test.address+": ")
			require.ErrorContains(t, err, test.text)
		})
	}
}

func TestTheNodesOwnErrorsKeepTextAndKind(t *testing.T) {
	f := &fake{upgrade: func(*connect.ServerStream[pawlv1.Event]) error {
		err := connect.NewError(connect.CodeFailedPrecondition,
			errors.New("upgrade to os:2: too big (take a smaller one)"))
		detail, _ := connect.NewErrorDetail(&pawlv1.Error{Kind: "does-not-fit"})
		err.AddDetail(detail)
		return err
	}}
	c := f.client(t)
	_, err := c.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"}, nil)
	require.Equal(t, "does-not-fit", ErrorKind(err))
	require.EqualError(t, err, c.Node+": upgrade to os:2: too big (take a smaller one)")
}

func TestAConnectionThatIsLostInAnUpgrade(t *testing.T) {
	plan := &pawlv1.Event{Event: &pawlv1.Event_Plan{Plan: &pawlv1.Plan{Version: "2", Image: "sha256:2", To: "B"}}}
	armed := &pawlv1.Event{Event: &pawlv1.Event_Armed{Armed: &pawlv1.Armed{Rebooting: true,
		Expected: &pawlv1.Expected{Attempt: "a"}}}}
	for name, test := range map[string]struct {
		events   []*pawlv1.Event
		kind     string
		expected bool
	}{
		"before the plan": {nil, Unreachable, false},
		"after the plan":  {[]*pawlv1.Event{plan}, Unreachable, true},
		"once armed":      {[]*pawlv1.Event{plan, armed}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{upgrade: func(to *connect.ServerStream[pawlv1.Event]) error {
				for _, e := range test.events {
					if err := to.Send(e); err != nil {
						return err
					}
				}
				panic(http.ErrAbortHandler)
			}}
			seen := 0
			result, err := f.client(t).Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2", Reboot: true},
				func(*pawlv1.Event) { seen++ })
			require.Equal(t, test.kind, ErrorKind(err), "%v", err)
			require.Equal(t, len(test.events), seen)
			require.Equal(t, test.expected, result != nil)
			if test.kind != "" {
				require.ErrorContains(t, err, "the operation goes on")
			}
			if name == "after the plan" {
				require.Equal(t, "boot-1 sha256:2 B", result.Expected.BootId+" "+result.Expected.Image+" "+
					result.Expected.Slot)
			}
		})
	}
}

// A deadline that a hook of the node has is not the caller's.
func TestWhatTakesTheNodeTooLongIsItsError(t *testing.T) {
	f := &fake{upgrade: func(*connect.ServerStream[pawlv1.Event]) error {
		err := connect.NewError(connect.CodeDeadlineExceeded,
			errors.New("drain: evict pod web-1: context deadline exceeded"))
		detail, _ := connect.NewErrorDetail(&pawlv1.Error{Kind: Timeout})
		err.AddDetail(detail)
		return err
	}}
	c := f.client(t)
	_, err := c.Upgrade(t.Context(), &pawlv1.UpgradeRequest{Image: "os:2"}, nil)
	require.Equal(t, Timeout, ErrorKind(err))
	require.EqualError(t, err, c.Node+": drain: evict pod web-1: context deadline exceeded")
}

// What answers at an address may be anybody's.
func TestAHostileNodeCostsLittle(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(make([]byte, 256<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	much := bytes.Repeat([]byte("a"), 1<<20)
	endless := func(w http.ResponseWriter, head string) {
		_, err := io.WriteString(w, head)
		for n := 0; err == nil && n < 256<<20; n += len(much) {
			_, err = w.Write(much)
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"a long answer": func(w http.ResponseWriter) { endless(w, "") },
		"a long error": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			endless(w, `{"code":"permission_denied","message":"`)
		},
		"a packed answer": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		},
		"a long header": func(w http.ResponseWriter) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"another's node": func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/proto")
				answer(w)
			}))
			defer server.Close()
			c, err := New(strings.TrimPrefix(server.URL, "http://"))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = c.Status(ctx)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
			require.NotContains(t, err.Error(), strings.Repeat("a", 10_000))
		})
	}
}

func TestWhatIsNoUTF8IsNotSent(t *testing.T) {
	c := (&fake{states: []*pawlv1.StatusResponse{{}}}).client(t)
	_, err := c.Plan(t.Context(), &pawlv1.PlanRequest{Image: "Ger\xe4t"})
	require.Equal(t, "request", ErrorKind(err))
	require.ErrorContains(t, err, "is not UTF-8")
}
