package talos

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
	"github.com/pawl-os/pawl/node/talos/wire"
	"github.com/pawl-os/pawl/upgrade/progress"
)

func (m *machine) upgrade(ctx context.Context, r *wire.UpgradeRequest) (*wire.UpgradeResponse, error) {
	if err := m.recorded(ctx); err != nil {
		return nil, err
	}
	asked := node.UpgradeRequest{Image: r.Image, Preserve: r.Preserve || !m.wipe, Force: r.Force, Stage: r.Stage,
		Reboot: true, Mode: node.ModeAuto}
	switch r.RebootMode {
	case wire.RebootMode_REBOOT_MODE_DEFAULT:
	case wire.RebootMode_REBOOT_MODE_POWERCYCLE:
		asked.Mode = node.ModePowercycle
	default:
		return nil, fmt.Errorf("upgrade: reboot mode %d: want default or powercycle: %w", r.RebootMode, node.ErrRequest)
	}
	op, err := m.s.Upgrade(context.WithoutCancel(ctx), asked)
	if err == nil {
		err = begun(ctx, op)
	}
	if err != nil {
		return nil, err
	}
	actor, err := m.actorOf(ctx, upgradeTo+r.Image)
	if err != nil {
		return nil, err
	}
	return &wire.UpgradeResponse{Messages: []*wire.Upgrade{{Ack: "Upgrade request received", ActorId: actor}}}, nil
}

// resolve is the first step of an upgrade: the reference becomes a digest.
const resolve progress.Step = "resolve"

// errBegun ends the following of an operation.
var errBegun = errors.New("it has begun")

// begun follows an operation until it has been allowed, so that who orders it hears why it is refused.
func begun(ctx context.Context, op *node.Operation) error {
	err := op.Follow(ctx, 0, func(e node.Event) error {
		switch told := e.Told.(type) {
		case node.Armed:
			return errBegun
		case node.Progress:
			if told.Step != resolve && told.Step != progress.Step(node.PhaseAllow) {
				return errBegun
			}
		}
		return nil
	})
	if errors.Is(err, errBegun) {
		return nil
	}
	return err
}

// rollback answers once what is armed is known: a client does not wait for more.
func (m *machine) rollback(ctx context.Context, _ *emptypb.Empty) (*wire.RollbackResponse, error) {
	if err := m.recorded(ctx); err != nil {
		return nil, err
	}
	op, err := m.s.Rollback(context.WithoutCancel(ctx), node.RollbackRequest{Reboot: true})
	if err == nil {
		err = op.Follow(ctx, 0, func(node.Event) error { return nil })
	}
	if err != nil {
		return nil, err
	}
	return &wire.RollbackResponse{Messages: []*wire.Rollback{{}}}, nil
}

func (m *machine) reboot(ctx context.Context, r *wire.RebootRequest) (*wire.RebootResponse, error) {
	asked := node.RebootRequest{Mode: node.ModeAuto}
	switch r.Mode {
	case wire.RebootMode_REBOOT_MODE_DEFAULT:
	case wire.RebootMode_REBOOT_MODE_POWERCYCLE:
		asked.Mode = node.ModePowercycle
	case wire.RebootMode_REBOOT_MODE_FORCE:
		if caller := access.CallerOf(ctx); !caller.Role.Includes(access.Admin) {
			return nil, fmt.Errorf("reboot by force needs the role %s, and %s is %s: %w", access.Admin, caller.Name,
				caller.Role, access.ErrDenied)
		}
		asked.Mode, asked.Force = node.ModePowercycle, true
	default:
		return nil, fmt.Errorf("reboot mode %d: want default, powercycle or force: %w", r.Mode, node.ErrRequest)
	}
	if !asked.Force { // which is for a start that hangs, too
		if err := m.recorded(ctx); err != nil {
			return nil, err
		}
	}
	if _, err := m.s.Reboot(ctx, asked); err != nil {
		return nil, err
	}
	actor, err := m.actorOf(ctx, rebootName)
	if err != nil {
		return nil, err
	}
	return &wire.RebootResponse{Messages: []*wire.Reboot{{ActorId: actor}}}, nil
}

func (m *machine) metaWrite(ctx context.Context, r *wire.MetaWriteRequest) (*wire.MetaWriteResponse, error) {
	value := append([]byte{}, r.Value...) // an empty value is one
	if err := m.setMeta(ctx, r.Key, value); err != nil {
		return nil, err
	}
	return &wire.MetaWriteResponse{Messages: []*wire.MetaWrite{{}}}, nil
}

func (m *machine) metaDelete(ctx context.Context, r *wire.MetaDeleteRequest) (*wire.MetaDeleteResponse, error) {
	if err := m.setMeta(ctx, r.Key, nil); err != nil {
		return nil, err
	}
	return &wire.MetaDeleteResponse{Messages: []*wire.MetaDelete{{}}}, nil
}

func (m *machine) setMeta(ctx context.Context, key uint32, value []byte) error {
	if key < 1 || key > 0xff {
		return fmt.Errorf("META key %d: want 1 to 255: %w", key, node.ErrRequest)
	}
	if err := m.recorded(ctx); err != nil {
		return err
	}
	return m.s.SetMetaValue(ctx, uint8(key), value)
}

// pull finds the image and plans, so that what speaks against it is heard before anything is written. Upgrade reads its
// layers.
func (m *machine) pull(ctx context.Context, r *wire.PullRequest, to *connect.ServerStream[wire.PullResponse]) error {
	if err := m.recorded(ctx); err != nil {
		return err
	}
	if _, err := m.s.Plan(ctx, node.PlanRequest{Image: r.ImageRef, Preserve: true}); err != nil {
		return err
	}
	return to.Send(&wire.PullResponse{Name: r.ImageRef})
}

// lifecycleUpgrade writes and arms. The client orders the restart, by Reboot.
func (m *machine) lifecycleUpgrade(ctx context.Context, r *wire.LifecycleUpgradeRequest,
	to *connect.ServerStream[wire.LifecycleUpgradeResponse]) error {
	if err := m.recorded(ctx); err != nil {
		return err
	}
	op, err := m.s.Upgrade(context.WithoutCancel(ctx), node.UpgradeRequest{Image: r.GetSource().GetImageName(),
		Preserve: true})
	if err != nil {
		return err
	}
	err = op.Follow(ctx, 0, func(e node.Event) error {
		if text := line(e); text != "" {
			return to.Send(&wire.LifecycleUpgradeResponse{Progress: &wire.Progress{
				Told: &wire.Progress_Message{Message: text}}})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return to.Send(&wire.LifecycleUpgradeResponse{Progress: &wire.Progress{Told: &wire.Progress_ExitCode{}}})
}

// line is what a person reads of an event; empty for those that tell no more than that bytes have grown.
func line(e node.Event) string {
	switch told := e.Told.(type) {
	case node.Progress:
		if !told.Done && told.File == "" && told.Bytes == 0 {
			return string(told.Step)
		}
	case node.Notice:
		return string(told)
	case node.Armed:
		return told.Attempt.String()
	}
	return ""
}
