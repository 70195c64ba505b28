package client

import (
	"context"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// Version says what answers.
func (c *Client) Version(ctx context.Context) (*pawlv1.VersionResponse, error) {
	v, err := c.rpc.Version(ctx, &pawlv1.VersionRequest{})
	return v, c.wrap(ctx, err)
}

// Status reads the node's state.
func (c *Client) Status(ctx context.Context) (*pawlv1.StatusResponse, error) {
	st, err := c.rpc.Status(ctx, &pawlv1.StatusRequest{})
	return st, c.wrap(ctx, err)
}

// Doctor predicts the node's next boots, and says what is redundant and what is broken.
func (c *Client) Doctor(ctx context.Context) (*pawlv1.DoctorResponse, error) {
	d, err := c.rpc.Doctor(ctx, &pawlv1.DoctorRequest{})
	return d, c.wrap(ctx, err)
}

// Plan says what an upgrade would do.
func (c *Client) Plan(ctx context.Context, r *pawlv1.PlanRequest) (*pawlv1.Plan, error) {
	p, err := c.rpc.Plan(ctx, r)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	return whole(c, p.Plan)
}

// whole is what a node answered, or an error where it left out what every node says.
func whole[T any](c *Client, answer *T) (*T, error) {
	if answer == nil {
		return nil, &Error{Node: c.Node, Kind: Foreign, Text: "what answers there left out the answer; is it a node?"}
	}
	return answer, nil
}

// Reboot restarts the node and returns what to expect of its next boot.
func (c *Client) Reboot(ctx context.Context, r *pawlv1.RebootRequest) (*pawlv1.Expected, error) {
	v, err := c.rpc.Reboot(ctx, r)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	return whole(c, v.Expected)
}

// Confirm makes what the node runs its default, by a person's order.
func (c *Client) Confirm(ctx context.Context) (*pawlv1.ConfirmResponse, error) {
	v, err := c.rpc.Confirm(ctx, &pawlv1.ConfirmRequest{})
	return v, c.wrap(ctx, err)
}

// Repair has the node remove what stands in an upgrade's way and is certainly harmless to remove.
func (c *Client) Repair(ctx context.Context) error {
	_, err := c.rpc.Repair(ctx, &pawlv1.RepairRequest{})
	return c.wrap(ctx, err)
}

// CancelStage gives up the staged upgrade and returns it.
func (c *Client) CancelStage(ctx context.Context) (*pawlv1.Attempt, error) {
	v, err := c.rpc.CancelStage(ctx, &pawlv1.CancelStageRequest{})
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	return whole(c, v.Attempt)
}

// Cancel ends the operation that runs, and returns its name and how it ended.
func (c *Client) Cancel(ctx context.Context) (*pawlv1.CancelResponse, error) {
	v, err := c.rpc.Cancel(ctx, &pawlv1.CancelRequest{})
	return v, c.wrap(ctx, err)
}

// Upgrade runs an upgrade and calls each with its events. A connection that is lost underway is Unreachable, but the
// upgrade goes on; what was expected of it by then comes with the error, for Wait, if the plan was known.
func (c *Client) Upgrade(ctx context.Context, r *pawlv1.UpgradeRequest, each func(*pawlv1.Event)) (*pawlv1.Armed,
	error) {
	return c.order(ctx, terms{r.Reboot, r.Attached}, func(ctx context.Context) (*stream,
		error) {
		return c.rpc.Upgrade(ctx, r)
	}, each)
}

// Rollback runs a rollback and calls each with its events.
func (c *Client) Rollback(ctx context.Context, r *pawlv1.RollbackRequest, each func(*pawlv1.Event)) (*pawlv1.Armed,
	error) {
	return c.order(ctx, terms{r.Reboot, r.Attached}, func(ctx context.Context) (*stream,
		error) {
		return c.rpc.Rollback(ctx, r)
	}, each)
}
