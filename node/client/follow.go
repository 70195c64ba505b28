package client

import (
	"context"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

type stream = connect.ServerStreamForClient[pawlv1.Event]

// terms of an order: whether the node restarts, and whether it ends with the call.
type terms struct{ reboot, attached bool }

// order gives an order in the boot that the node is in, and follows it.
func (c *Client) order(ctx context.Context, t terms, call func(context.Context) (*stream, error),
	each func(*pawlv1.Event)) (*pawlv1.Armed, error) {
	boot, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	life, end := c.whileUp(ctx, boot.BootId)
	defer end()
	events, err := call(life)
	if err != nil {
		return nil, c.ended(life, err)
	}
	return c.follow(life, events, boot.BootId, t, each)
}

func (c *Client) follow(life context.Context, events *stream, boot string, t terms,
	each func(*pawlv1.Event)) (*pawlv1.Armed, error) {
	defer events.Close()
	var planned *pawlv1.Plan
	for events.Receive() {
		e := events.Msg()
		if each != nil {
			each(e)
		}
		if p := e.GetPlan(); p != nil {
			planned = p
		}
		if armed := e.GetArmed(); armed != nil { // the last event; the node may well be gone by now
			if _, err := whole(c, armed.Expected); err != nil {
				return nil, err
			}
			return armed, nil
		}
	}
	err := c.ended(life, events.Err())
	if err == nil {
		err = &Error{Node: c.Node, Kind: Unreachable, Text: "the node ended the call without a result"}
	}
	const goesOn = "the operation goes on"
	switch kind := ErrorKind(err); {
	case t.attached:
		return nil, err
	case (kind == "cancelled" || kind == Timeout) && !connect.IsWireError(err):
		return nil, &Error{Node: c.Node, Kind: kind, Text: "no longer followed; " + goesOn, GoesOn: true, err: err}
	case kind != Unreachable:
		return nil, err
	}
	lost := &Error{Node: c.Node, Kind: Unreachable, Text: "the connection was lost; " + goesOn, GoesOn: true, err: err}
	if planned == nil {
		return nil, lost
	}
	return &pawlv1.Armed{Rebooting: t.reboot, Expected: &pawlv1.Expected{
		BootId: boot, Version: planned.Version, Image: planned.Image, Slot: planned.To, Trial: true,
	}}, lost
}
