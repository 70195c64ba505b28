package api

import (
	"context"
	"runtime"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/attempt"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// version is that of the API.
const version = 1

// server is what the API needs of node.Server.
type server interface {
	About() node.About
	Recorded(context.Context) error
	StartClock()
	Status(context.Context) (node.Status, error)
	Doctor(context.Context) (doctor.Diagnosis, error)
	Plan(context.Context, node.PlanRequest) (node.Plan, error)
	Upgrade(context.Context, node.UpgradeRequest) (*node.Operation, error)
	Rollback(context.Context, node.RollbackRequest) (*node.Operation, error)
	CancelStage(context.Context) (attempt.Attempt, error)
	Cancel(context.Context) (name string, ended error, err error)
	Confirm(context.Context) (node.Confirmed, error)
	Repair(context.Context) error
	MarkImage(context.Context, node.MarkRequest) (attempt.Bad, bool, error)
	MetaValues(context.Context, []uint8) ([]node.MetaValue, error)
	SetMetaValue(ctx context.Context, tag uint8, value []byte) error
	LockSlots(context.Context) (pool string, held []node.LockSlot, err error)
	LockRelease(context.Context, node.LockRelease) (node.LockSlot, error)
	Settings() map[string]string
	Reboot(context.Context, node.RebootRequest) (node.Expected, error)
	Called(node.Call)
	Events(context.Context, node.Since, func(node.Event) error) error
	Dmesg(context.Context, node.Since, func(node.KernelMessage) error) error
}

// service is the API over a server: it converts, and ties nothing that runs to a caller who may go away.
type service struct {
	s      server
	access *access.Control
}

var _ pawlv1.NodeHandler = service{}

// startTime bounds how long a call waits for the boot to be recorded: less than a client has patience for.
const startTime = 3 * time.Second

// recorded calls do once this boot is recorded, and converts what it returns.
func recorded[T, W any](ctx context.Context, v service, do func(context.Context) (T, error), wire func(T) W) (w W,
	err error) {
	limited, cancel := context.WithTimeoutCause(ctx, startTime, node.ErrStarting)
	err = v.s.Recorded(limited)
	cancel()
	if err != nil {
		return w, wireError(err)
	}
	return converted(ctx, do, wire)
}

// converted converts what do returns.
func converted[T, W any](ctx context.Context, do func(context.Context) (T, error), wire func(T) W) (w W, err error) {
	t, err := do(ctx)
	if err != nil {
		return w, wireError(err)
	}
	return wire(t), nil
}

func (v service) Version(context.Context, *pawlv1.VersionRequest) (*pawlv1.VersionResponse, error) {
	a := v.s.About()
	return &pawlv1.VersionResponse{
		Pawl: a.Version, Api: version, Platform: runtime.GOOS + "/" + runtime.GOARCH, BootId: a.BootID, Service: a.Run,
	}, nil
}

func (v service) Status(ctx context.Context, _ *pawlv1.StatusRequest) (*pawlv1.StatusResponse, error) {
	return recorded(ctx, v, v.s.Status, func(st node.Status) *pawlv1.StatusResponse {
		st.Warnings = append(slices.Clone(st.Warnings), v.access.Warnings()...)
		return wireStatus(st)
	})
}

func (v service) Doctor(ctx context.Context, _ *pawlv1.DoctorRequest) (*pawlv1.DoctorResponse, error) {
	return recorded(ctx, v, v.s.Doctor, func(d doctor.Diagnosis) *pawlv1.DoctorResponse {
		d.Findings = slices.Clone(d.Findings)
		for _, text := range v.access.Warnings() {
			d.Findings = append(d.Findings, doctor.Finding{Severity: doctor.Degraded, About: "certificates", Text: text})
		}
		return wireDiagnosis(d, v.s.About().BootID)
	})
}

func (v service) Plan(ctx context.Context, r *pawlv1.PlanRequest) (*pawlv1.PlanResponse, error) {
	do := func(ctx context.Context) (node.Plan, error) { return v.s.Plan(ctx, goPlanRequest(r)) }
	return recorded(ctx, v, do, func(p node.Plan) *pawlv1.PlanResponse { return &pawlv1.PlanResponse{Plan: wirePlan(p)} })
}

func (v service) Upgrade(ctx context.Context, r *pawlv1.UpgradeRequest, to *connect.ServerStream[pawlv1.Event]) error {
	return v.follow(ctx, to, func(ctx context.Context) (*node.Operation, error) {
		return v.s.Upgrade(life(ctx, r.Attached), goUpgradeRequest(r))
	})
}

func (v service) Rollback(ctx context.Context, r *pawlv1.RollbackRequest,
	to *connect.ServerStream[pawlv1.Event]) error {
	return v.follow(ctx, to, func(ctx context.Context) (*node.Operation, error) {
		return v.s.Rollback(life(ctx, r.Attached), goRollbackRequest(r))
	})
}

// follow begins an operation and tells of it to its end.
func (v service) follow(ctx context.Context, to *connect.ServerStream[pawlv1.Event],
	begin func(context.Context) (*node.Operation, error)) error {
	op, err := recorded(ctx, v, begin, func(op *node.Operation) *node.Operation { return op })
	if err != nil {
		return err
	}
	return wireError(op.Follow(ctx, 0, sender(to)))
}

func sender(to *connect.ServerStream[pawlv1.Event]) func(node.Event) error {
	return func(e node.Event) error { return to.Send(wireEvent(e)) }
}

// life is how long an operation lives: as long as the server, or as the call if that was asked for.
func life(call context.Context, attached bool) context.Context {
	if attached {
		return call
	}
	return context.WithoutCancel(call)
}

func (v service) CancelStage(ctx context.Context, _ *pawlv1.CancelStageRequest) (*pawlv1.CancelStageResponse, error) {
	return recorded(ctx, v, v.s.CancelStage, func(a attempt.Attempt) *pawlv1.CancelStageResponse {
		return &pawlv1.CancelStageResponse{Attempt: wireAttempt(&a)}
	})
}

func (v service) Cancel(ctx context.Context, _ *pawlv1.CancelRequest) (*pawlv1.CancelResponse, error) {
	name, ended, err := v.s.Cancel(ctx)
	if err != nil {
		return nil, wireError(err)
	}
	return &pawlv1.CancelResponse{Operation: name, Error: ended.Error()}, nil
}

func (v service) Confirm(ctx context.Context, _ *pawlv1.ConfirmRequest) (*pawlv1.ConfirmResponse, error) {
	return recorded(ctx, v, v.s.Confirm, wireConfirmed)
}

func (v service) Repair(ctx context.Context, _ *pawlv1.RepairRequest) (*pawlv1.RepairResponse, error) {
	done := func(ctx context.Context) (*pawlv1.RepairResponse, error) {
		return &pawlv1.RepairResponse{}, v.s.Repair(ctx)
	}
	return recorded(ctx, v, done, func(r *pawlv1.RepairResponse) *pawlv1.RepairResponse { return r })
}

func (v service) Reboot(ctx context.Context, r *pawlv1.RebootRequest) (*pawlv1.RebootResponse, error) {
	do := func(ctx context.Context) (node.Expected, error) { return v.s.Reboot(ctx, goRebootRequest(r)) }
	wire := func(e node.Expected) *pawlv1.RebootResponse { return &pawlv1.RebootResponse{Expected: wireExpected(e)} }
	if r.Force { // which is for a start that hangs, too
		return converted(ctx, do, wire)
	}
	return recorded(ctx, v, do, wire)
}

func (v service) Events(ctx context.Context, r *pawlv1.EventsRequest, to *connect.ServerStream[pawlv1.Event]) error {
	return wireError(v.s.Events(ctx, node.Since{ID: r.Since, BootID: r.BootId, Follow: r.Follow}, sender(to)))
}

func (v service) Dmesg(ctx context.Context, r *pawlv1.DmesgRequest,
	to *connect.ServerStream[pawlv1.KernelMessage]) error {
	return wireError(v.s.Dmesg(ctx, node.Since{ID: r.Since, BootID: r.BootId, Follow: r.Follow},
		func(m node.KernelMessage) error {
			return to.Send(wireMessage(m))
		}))
}
