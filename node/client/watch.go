package client

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// Events calls each with what the node tells: what it told after r.Since, and then, with r.Follow, what it tells until
// ctx ends. When it follows, a lost connection is made again, in this boot of the node or the next, and nothing is told
// twice.
func (c *Client) Events(ctx context.Context, r *pawlv1.EventsRequest, each func(*pawlv1.Event) error) error {
	return watch(ctx, c, r.Follow, func(ctx context.Context) (source[pawlv1.Event], error) {
		return c.rpc.Events(ctx,
			r)
	}, func(e *pawlv1.Event) error {
		r.Since, r.BootId = e.Id, e.BootId
		return each(e)
	})
}

// Dmesg calls each with the messages of the node's kernel, as Events does with events.
func (c *Client) Dmesg(ctx context.Context, r *pawlv1.DmesgRequest, each func(*pawlv1.KernelMessage) error) error {
	return watch(ctx, c, r.Follow, func(ctx context.Context) (source[pawlv1.KernelMessage],
		error) {
		return c.rpc.Dmesg(ctx, r)
	}, func(m *pawlv1.KernelMessage) error {
		r.Since, r.BootId = m.Sequence, m.BootId
		return each(m)
	})
}

// source is a stream of the node's.
type source[T any] interface {
	Receive() bool
	Msg() *T
	Err() error
	Close() error
}

// watch reads a stream to its end; when following, it begins anew whenever the connection is lost or the node has
// restarted.
func watch[T any](ctx context.Context, c *Client, follow bool, open func(context.Context) (source[T], error),
	each func(*T) error) error {
	for {
		err := c.read(ctx, follow, func(ctx context.Context) error { return read(ctx, open, each) })
		own := !connectionError(err)
		wrapped := c.wrap(ctx, err)
		switch {
		case ctx.Err() != nil:
			return &Error{Node: c.Node, Kind: "cancelled", Text: "no longer watched", err: ctx.Err()}
		case !follow, own && err != nil:
			return wrapped
		}
		if kind := ErrorKind(wrapped); err != nil && kind != Unreachable && kind != Timeout {
			return wrapped
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// read does one reading. One that follows ends when the node has restarted.
func (c *Client) read(ctx context.Context, follow bool, do func(context.Context) error) error {
	if !follow {
		return do(ctx)
	}
	v, err := c.rpc.Version(ctx, &pawlv1.VersionRequest{})
	if err != nil {
		return err
	}
	life, end := c.whileUp(ctx, v.BootId)
	defer end()
	if err = do(life); errors.Is(context.Cause(life), errRestarted) {
		return connect.NewError(connect.CodeUnavailable, errRestarted)
	}
	return err
}

func read[T any](ctx context.Context, open func(context.Context) (source[T], error), each func(*T) error) error {
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for s.Receive() {
		if err := each(s.Msg()); err != nil {
			return err
		}
	}
	return s.Err()
}

// connectionError tells the errors of a call from those of a caller's own function.
func connectionError(err error) bool { return connect.CodeOf(err) != connect.CodeUnknown }
