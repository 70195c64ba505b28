// Package talos answers talosctl, the client of Talos Linux, in place of Talos: version, upgrade, rollback, reboot,
// dmesg, events, services, and META's write and delete. It is made for versions 1.5 to 1.13 of the client:
// docs/reference/talosctl.md says which were run. What is not there is refused by its name.
//
// Start with [New], which goes into [api.RunOptions]. The package stands on [node.Server] alone: callers, limits and
// audit are those of package node/api.
//
// An unmodified client says that an upgrade worked once it sees an event that the machine runs and is ready, and then
// another boot. So that is told only of a version that stays; see the type state. After a fallback the reason is told
// first.
package talos

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api"
	"github.com/pawl-os/pawl/node/talos/wire"
)

// Options say how Talos's client is answered. The zero value works.
type Options struct {
	// An upgrade without --preserve wipes EPHEMERAL, as clients before 1.8 mean it. A request does not say which client
	// it comes from, and later ones mean nothing by that, so nothing is wiped unless this is set.
	Wipe bool
}

// New returns what [api.Options] take.
func New(o Options) api.Beside {
	return func(s *node.Server, isHere func(string) bool) api.Service {
		return newMachine(s, isHere, o).service()
	}
}

// server is what is needed of node.Server.
type server interface {
	About() node.About
	Recorded(context.Context) error
	Status(context.Context) (node.Status, error)
	Plan(context.Context, node.PlanRequest) (node.Plan, error)
	Upgrade(context.Context, node.UpgradeRequest) (*node.Operation, error)
	Rollback(context.Context, node.RollbackRequest) (*node.Operation, error)
	Reboot(context.Context, node.RebootRequest) (node.Expected, error)
	SetMetaValue(ctx context.Context, tag uint8, value []byte) error
	Events(context.Context, node.Since, func(node.Event) error) error
	Dmesg(context.Context, node.Since, func(node.KernelMessage) error) error
}

// machine answers for one node.
type machine struct {
	s      server
	isHere func(host string) bool
	wipe   bool
	every  time.Duration // how often the state is looked at while it is not what it is to become
}

func newMachine(s server, isHere func(string) bool, o Options) *machine {
	return &machine{s: s, isHere: isHere, wipe: o.Wipe, every: time.Second}
}

// Services of Talos that have a method here.
const (
	machineService   = "/machine.MachineService/"
	imageService     = "/machine.ImageService/"
	lifecycleService = "/machine.LifecycleService/"
)

// service has all methods that are there, and refuses the others of the same services by name.
func (m *machine) service() api.Service {
	return api.Service{
		Followers: []string{machineService + "Events", machineService + "Dmesg"},
		Plans:     []string{imageService + "Pull"},
		Add: func(mux *http.ServeMux, o connect.HandlerOption) {
			o = connect.WithHandlerOptions(o, connect.WithInterceptors(here{m.isHere}))
			unary(mux, machineService+"Version", m.version, o)
			unary(mux, machineService+"Upgrade", m.upgrade, o)
			unary(mux, machineService+"Rollback", m.rollback, o)
			unary(mux, machineService+"Reboot", m.reboot, o)
			unary(mux, machineService+"ServiceList", m.serviceList, o)
			unary(mux, machineService+"MetaWrite", m.metaWrite, o)
			unary(mux, machineService+"MetaDelete", m.metaDelete, o)
			stream(mux, machineService+"Events", m.events, o)
			stream(mux, machineService+"Dmesg", m.dmesg, o)
			stream(mux, machineService+"Read", m.read, o)
			stream(mux, imageService+"Pull", m.pull, o)
			stream(mux, lifecycleService+"Upgrade", m.lifecycleUpgrade, o)
			for _, service := range missing {
				mux.HandleFunc(service, refuse)
			}
		},
	}
}

// schema describes the method that a path names.
func schema(path string) protoreflect.MethodDescriptor {
	service, method := split(path)
	return wire.File_pawl_talos_proto.Services().ByName(protoreflect.Name(service)).Methods().
		ByName(protoreflect.Name(method))
}

func unary[Q, A any](mux *http.ServeMux, path string, do func(context.Context, *Q) (*A, error),
	o connect.HandlerOption) {
	mux.Handle(path, connect.NewUnaryHandlerSimple(path, do, connect.WithSchema(schema(path)), o))
}

func stream[Q, A any](mux *http.ServeMux, path string, do func(context.Context, *Q, *connect.ServerStream[A]) error,
	o connect.HandlerOption) {
	mux.Handle(path, connect.NewServerStreamHandlerSimple(path, do, connect.WithSchema(schema(path)), o))
}

// startTime bounds how long a call waits for the boot to be recorded.
const startTime = 3 * time.Second

// recorded waits until this boot is recorded.
func (m *machine) recorded(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, startTime, node.ErrStarting)
	defer cancel()
	return m.s.Recorded(limited)
}

// here refuses what is meant for another machine: a node forwards nothing, and what it did would be done to itself.
type here struct{ isHere func(string) bool }

// check looks at whom a call is for, which is in its header. Where nobody is named, it is for the node that is asked.
func (h here) check(header http.Header) error {
	for _, value := range slices.Concat(header.Values("nodes"), header.Values("node")) {
		for host := range strings.SplitSeq(value, ",") {
			if host = strings.TrimSpace(host); !h.isHere(host) {
				return fmt.Errorf("no request forwarding: the call is for the node %.100q: %w (name that node as the "+
					"endpoint too: talosctl -e NODE -n NODE; or give this node that name: pawld --name)", host, api.ErrHost)
			}
		}
	}
	return nil
}

// WrapUnary implements [connect.Interceptor].
func (h here) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		if err := h.check(r.Header()); err != nil {
			return nil, err
		}
		return next(ctx, r)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (here) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements [connect.Interceptor].
func (h here) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		if err := h.check(c.RequestHeader()); err != nil {
			return err
		}
		return next(ctx, c)
	}
}
