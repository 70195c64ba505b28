package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
)

var roles = []access.Role{access.None, access.Reader, access.Operator, access.Admin}

// methods are all of the API.
func methods(t *testing.T) (all []protoreflect.MethodDescriptor) {
	of := pawlv1.File_pawl_proto.Services().ByName("Node").Methods()
	for i := range of.Len() {
		all = append(all, of.Get(i))
	}
	require.GreaterOrEqual(t, len(all), 12)
	return all
}

// A method that is new gets its role here too: a slip in pawl.proto opens the node.
func TestEveryMethodSaysItsRole(t *testing.T) {
	want := map[access.Role]string{
		access.Reader:   "Version Status Doctor Events Dmesg MetaList LockList",
		access.Operator: "Plan CancelStage Cancel Confirm Repair Reboot Mark Settings",
		access.Admin:    "Upgrade Rollback MetaSet MetaDelete LockRelease",
	}
	for _, m := range methods(t) {
		role := access.Needed(m, nil)
		require.Contains(t, strings.Fields(want[role]), string(m.Name()), "%s is for %s", m.Name(), role)
	}
	more := map[string]access.Role{}
	for _, m := range methods(t) {
		for _, r := range requests(m) {
			if needed := access.Needed(m, r.set); needed != access.Needed(m, nil) {
				more[string(m.Name())+" "+r.text] = needed
			}
		}
	}
	require.Equal(t, map[string]access.Role{`Reboot {"force":true}`: access.Admin,
		`MetaList {"values":true}`: access.Admin}, more)
}

// request is one of a method, as text and as a message.
type request struct {
	text string
	set  proto.Message
}

// requests are an empty one, and one for each thing that can be switched on.
func requests(m protoreflect.MethodDescriptor) []request {
	all := []request{{"{}", dynamicpb.NewMessage(m.Input())}}
	fields := m.Input().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Kind() == protoreflect.BoolKind && f.Name() != "follow" { // which never ends
			set := dynamicpb.NewMessage(m.Input())
			set.Set(f, protoreflect.ValueOfBool(true))
			all = append(all, request{fmt.Sprintf("{%q:true}", f.JSONName()), set})
		}
	}
	return all
}

// dull is a node that does nothing.
func dull(t *testing.T) *stub {
	s := newStub(t)
	s.upgrade = func(context.Context, node.UpgradeRequest) (*node.Operation, error) { return nil, errSick }
	s.plan = func(node.PlanRequest) (node.Plan, error) { return node.Plan{}, errSick }
	s.events = func(context.Context, node.Since, func(node.Event) error) error { return errSick }
	return s
}

// ask calls a method as any HTTP client can, and returns all of the answer.
func ask(t *testing.T, h *http.Client, base string, m protoreflect.MethodDescriptor, request string) string {
	body, kind := []byte(request), "application/json"
	if m.IsStreamingServer() {
		kind = "application/connect+json"
		body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	r, err := h.Post(base+"/pawl.v1.Node/"+string(m.Name()), kind, bytes.NewReader(body))
	require.NoError(t, err)
	defer r.Body.Close()
	said, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(said)
}

// everyMethod is called as a role, and what is let through is what pawl.proto says.
func everyMethod(t *testing.T, h *http.Client, base string, role access.Role) {
	for _, m := range methods(t) {
		for _, r := range requests(m) {
			said := ask(t, h, base, m, r.text)
			needed, request := access.Needed(m, r.set), r.text
			if role.Includes(needed) {
				require.NotContains(t, said, "permission_denied", "%s %s as %q", m.Name(), request, role)
			} else {
				require.Contains(t, said, "permission_denied", "%s %s as %q", m.Name(), request, role)
				require.Contains(t, said, "needs the role "+string(needed))
			}
		}
	}
}

// overSocket is a client of what listens at a path.
func overSocket(t *testing.T, dial func(ctx context.Context, path string) (net.Conn, error), path string) *http.Client {
	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, path)
	}}}
	t.Cleanup(h.CloseIdleConnections)
	return h
}

func dialAsSelf(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

func TestEveryMethodByEveryRole(t *testing.T) {
	for _, role := range roles[1:] {
		t.Run("loopback, "+string(role), func(t *testing.T) {
			control, err := access.New(access.Options{Plain: role})
			require.NoError(t, err)
			to := served(t, newAPI(dull(t), Options{Access: control}), "127.0.0.1:0")
			h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			everyMethod(t, h, "http://"+to.String(), role)
		})
	}
	t.Run("Unix socket, the service's own user", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		control, err := access.New(access.Options{Plain: access.Reader})
		require.NoError(t, err)
		served(t, newAPI(dull(t), Options{Access: control}), "unix:"+path)
		everyMethod(t, overSocket(t, dialAsSelf, path), "http://node", access.Admin)
	})
	t.Run("an embedder's server that does not say who calls", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		server := &http.Server{Handler: newAPI(dull(t), Options{}).Handler()}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		everyMethod(t, overSocket(t, dialAsSelf, path), "http://node", access.None)
	})
}

func TestAMethodWithoutARoleIsRefusedToEverybody(t *testing.T) {
	other := protoreflect.MethodDescriptor(withoutRole{methods(t)[0]})
	for _, role := range roles {
		err := access.Check(access.Caller{Name: "root", Role: role}, other, nil)
		require.ErrorIs(t, err, access.ErrDenied)
	}
	err := guard{}.check(access.With(t.Context(), access.Caller{Role: access.Admin}), connect.Spec{Procedure: "/a/B"},
		nil)
	require.Equal(t, "denied", kindOf(t, err))
}

// withoutRole is a method that says no role.
type withoutRole struct{ protoreflect.MethodDescriptor }

func (withoutRole) Options() protoreflect.ProtoMessage { return new(descriptorpb.MethodOptions) }
