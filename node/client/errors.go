package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// Kinds of errors that come from this end; the others are those of api.ErrorKind and node.ErrorKind.
const (
	Starting    = "starting"       // of node.ErrorKind: the node answers, but not yet as to its machine
	Unreachable = "unreachable"    // no answer, or the connection was lost
	Timeout     = "timeout"        // it took longer than it may
	Foreign     = "not-a-node"     // something else answers at the address
	Untrusted   = "untrusted"      // one end does not accept the other's certificate, or speaks no TLS
	Unknown     = "caller-unknown" // of api.ErrorKind: the node does not know who calls
	// of node.ErrorKind: no attempt ordered the boot that runs, so a person has to confirm it or to go back
	Unordered = "unordered"
	FellBack  = "fell-back" // the node runs another version than it should
	denied    = "denied"    // of api.ErrorKind
	Broken    = "broken"    // the node's doctor found something broken
)

// Error is what went wrong with a node.
type Error struct {
	Node   string
	Kind   string // for programs
	Text   string // for people: what happened and what to do
	GoesOn bool   // what was ordered goes on without this client
	err    error
}

func (e *Error) Error() string { return e.Node + ": " + e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// textOf is the text of err for people, without the node.
func textOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Text
	}
	return err.Error()
}

// ErrorKind is the kind of err; empty if it is not an *Error.
func ErrorKind(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// early is how much sooner than its caller a node, which is told the caller's deadline, may end a call.
const early = 50 * time.Millisecond

// over reports whether the time of ctx is over, or as good as that.
func over(ctx context.Context) bool {
	at, limited := ctx.Deadline()
	return limited && time.Until(at) < early
}

// wrap makes an *Error of what a call returned that was made with ctx.
func (c *Client) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Node: c.Node, Kind: "unknown", Text: err.Error(), err: err}
	var wire *connect.Error
	if !errors.As(err, &wire) {
		return e
	}
	if wire.Code() == connect.CodeDeadlineExceeded && over(ctx) { // whoever saw it first
		e.Kind, e.Text, e.err = Timeout, "no answer in time; is the node up?", context.DeadlineExceeded
		return e
	}
	e.Text = wire.Message()
	for _, d := range wire.Details() {
		if v, err := d.Value(); err == nil {
			if detail, ok := v.(*pawlv1.Error); ok {
				e.Kind = detail.Kind
				if e.Kind == Unknown && c.tls != nil {
					e.Text += "; this machine's clock says " + stamp(time.Now())
				}
				return e
			}
		}
	}
	switch {
	case (wire.Code() == connect.CodeDeadlineExceeded || errors.Is(err, context.DeadlineExceeded)) &&
		(ctx.Err() != nil || connect.IsWireError(err)):
		e.Kind, e.Text = Timeout, "no answer in time; is the node up?"
	case !connect.IsWireError(err) && strings.HasPrefix(wire.Message(), "marshal message"):
		e.Kind, e.Text = "request", "what is asked for is not UTF-8, so it cannot be sent: "+wire.Message()
	case wire.Code() == connect.CodeCanceled:
		e.Kind, e.Text = "cancelled", "the call was cancelled"
		if text := c.distrust(ctx, err); ctx.Err() == nil && text != "" { // a lost write looks so
			e.Kind, e.Text = Untrusted, text
		}
	case connect.IsWireError(err) || wire.Code() == connect.CodeUnimplemented:
		e.Kind, e.Text = Foreign, "what answers there does not speak Pawl's API: "+wire.Message()
	default:
		if text := c.distrust(ctx, err); text != "" {
			e.Kind, e.Text = Untrusted, text
			return e
		}
		e.Kind = Unreachable
		e.Text = "the node does not answer: " + wire.Message() +
			" (is it up, does pawld run there, and does it listen on this address?)"
	}
	return e
}
