package node

import (
	"context"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// api is the version of the API.
const api = 1

// Handler is the API, for an embedder's own HTTP server. Serve is the simple way. It may be used before Start: what
// tells of the machine or changes it waits for Start then, or fails with ErrStarting. It bounds requests and calls, as over TCP;
// connections, and who may call the node by what name, are the server's own matter.
func (s *Server) Handler() http.Handler { return s.handler(s.tcp) }

func (s *Server) handler(g *gate) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(pawlv1.NewNodeHandler(service{s}, connect.WithReadMaxBytes(MaxRequest), connect.WithSendMaxBytes(MaxAnswer),
		connect.WithCompression("gzip", nil, nil), // a small request can unpack to a very large one
		connect.WithInterceptors(validText{})))
	return g.limit(mux)
}

// startTime bounds how long a call waits for Start: less than a client has patience for.
const startTime = 3 * time.Second

// recorded waits until Start has recorded this boot.
func (v service) recorded(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, ErrStarting)
	defer cancel()
	select {
	case <-v.s.begun:
		return nil
	case <-ctx.Done():
		return wireError(context.Cause(ctx))
	}
}

// service is the API over a Server: it converts, and ties nothing that runs to a caller who may go away.
type service struct{ s *Server }

var _ pawlv1.NodeHandler = service{}

func (v service) Version(context.Context, *pawlv1.VersionRequest) (*pawlv1.VersionResponse, error) {
	return &pawlv1.VersionResponse{
		Pawl: Version(), Api: api, Platform: runtime.GOOS + "/" + runtime.GOARCH, BootId: v.s.bootID, Service: v.s.run,
	}, nil
}

// Version is the version of this module in the running program, as Go's build recorded it; "(devel)" if it did not.
func Version() string {
	const module = "github.com/pawl-os/pawl"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	if info.Main.Path == module && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return "(devel)"
}

func (v service) Status(ctx context.Context, _ *pawlv1.StatusRequest) (*pawlv1.StatusResponse, error) {
	if err := v.recorded(ctx); err != nil {
		return nil, err
	}
	st, err := v.s.Status(ctx)
	return st, wireError(err)
}

func (v service) Doctor(ctx context.Context, _ *pawlv1.DoctorRequest) (*pawlv1.DoctorResponse, error) {
	if err := v.recorded(ctx); err != nil {
		return nil, err
	}
	d, err := v.s.Doctor(ctx)
	return d, wireError(err)
}

func (v service) Plan(ctx context.Context, r *pawlv1.PlanRequest) (*pawlv1.PlanResponse, error) {
	if err := v.recorded(ctx); err != nil {
		return nil, err
	}
	plan, err := v.s.Plan(ctx, r)
	if err != nil {
		return nil, wireError(err)
	}
	return &pawlv1.PlanResponse{Plan: plan}, nil
}

func (v service) Upgrade(ctx context.Context, r *pawlv1.UpgradeRequest, to *connect.ServerStream[pawlv1.Event]) error {
	if err := v.recorded(ctx); err != nil {
		return err
	}
	op, err := v.s.Upgrade(v.life(ctx, r.Attached), r)
	if err != nil {
		return wireError(err)
	}
	return wireError(op.Follow(ctx, 0, to.Send))
}

func (v service) Rollback(ctx context.Context, r *pawlv1.RollbackRequest, to *connect.ServerStream[pawlv1.Event]) error {
	if err := v.recorded(ctx); err != nil {
		return err
	}
	op, err := v.s.Rollback(v.life(ctx, r.Attached), r)
	if err != nil {
		return wireError(err)
	}
	return wireError(op.Follow(ctx, 0, to.Send))
}

func (v service) CancelStage(ctx context.Context, _ *pawlv1.CancelStageRequest) (*pawlv1.CancelStageResponse, error) {
	if err := v.recorded(ctx); err != nil {
		return nil, err
	}
	a, err := v.s.CancelStage(ctx)
	if err != nil {
		return nil, wireError(err)
	}
	return &pawlv1.CancelStageResponse{Attempt: wireAttempt(&a)}, nil
}

func (v service) Cancel(ctx context.Context, _ *pawlv1.CancelRequest) (*pawlv1.CancelResponse, error) {
	name, ended, err := v.s.Cancel(ctx)
	if err != nil {
		return nil, wireError(err)
	}
	return &pawlv1.CancelResponse{Operation: name, Error: ended.Error()}, nil
}

func (v service) Confirm(ctx context.Context, _ *pawlv1.ConfirmRequest) (*pawlv1.ConfirmResponse, error) {
	if err := v.recorded(ctx); err != nil {
		return nil, err
	}
	c, err := v.s.Confirm(ctx)
	return c, wireError(err)
}

func (v service) Events(ctx context.Context, r *pawlv1.EventsRequest, to *connect.ServerStream[pawlv1.Event]) error {
	return wireError(v.s.Events(ctx, r, to.Send))
}

func (v service) Dmesg(ctx context.Context, r *pawlv1.DmesgRequest, to *connect.ServerStream[pawlv1.KernelMessage]) error {
	return wireError(v.s.Dmesg(ctx, r, to.Send))
}

// life is how long an operation lives: as long as the service, or as the call if that was asked for.
func (v service) life(call context.Context, attached bool) context.Context {
	if attached {
		return call
	}
	return v.s.ctx
}

func (v service) Reboot(ctx context.Context, r *pawlv1.RebootRequest) (*pawlv1.RebootResponse, error) {
	if !r.Force { // which is for a start that hangs, too
		if err := v.recorded(ctx); err != nil {
			return nil, err
		}
	}
	expected, err := v.s.Reboot(ctx, r)
	if err != nil {
		return nil, wireError(err)
	}
	return &pawlv1.RebootResponse{Expected: expected}, nil
}
