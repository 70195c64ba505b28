// Package client talks to nodes that run Pawl, and waits for them to come back.
//
// Start with New and Client.Upgrade; Client.Wait then tells how it ended. Errors are *Error: they name the node, and
// their Kind is for programs.
//
// A lost connection does not end an upgrade, and Wait expects it. Boots are told apart by their boot id, versions by
// the digest of their image and the slot they run from, never by version strings. The package has no retries but those
// of Wait. TLS is [Open]'s.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// DefaultPort is used for an address without a port.
const DefaultPort = "7295"

// dialTime bounds how long a connection may take to be made.
const dialTime = 5 * time.Second

// What a client takes of whatever answers at an address, in bytes: more than a node ever sends.
const (
	maxMessage = 4 << 20
	maxHeader  = 64 << 10
)

// Client talks to one node. It holds no connection between calls.
type Client struct {
	Node string // its address, as it was given
	rpc  pawlv1.NodeClient
	base string
	tls  *tls.Config // nil: without

	version atomic.Value // of the service there, as its latest answer said; a string
}

// NodeVersion is the version of the service on the node, as its latest answer said it; empty if none did.
func (c *Client) NodeVersion() string {
	version, _ := c.version.Load().(string)
	return version
}

// hearing is a transport that hears of what version the service is that answers.
type hearing struct {
	http.RoundTripper
	client *Client
}

func (h hearing) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := h.RoundTripper.RoundTrip(r)
	if err == nil {
		if version := answer.Header.Get("Pawl-Version"); version != "" && len(version) <= maxVersion {
			h.client.version.Store(version)
		}
	}
	return answer, err
}

// maxVersion bounds a version, in bytes.
const maxVersion = 128

// unixBase is where a node is whose address is a Unix socket.
const unixBase = "http://node"

// New returns a client of the node at address: "HOST", "HOST:PORT" or "unix:PATH", with "https://" before it for TLS.
// Nothing is connected yet.
func New(address string) (*Client, error) { return Open(address, Options{}) }

// Open returns a client as New does. With any of the options TCP is TLS, but for addresses that begin with "http://".
func Open(address string, o Options) (*Client, error) {
	base, network, target := unixBase, "unix", ""
	scheme, host, given := strings.Cut(address, "://")
	if !given {
		scheme, host = "http", address
		if o != (Options{}) {
			scheme = "https"
		}
	} else if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("node %q is no address: want HOST, HOST:PORT, https://HOST or unix:PATH", address)
	}
	var config *tls.Config
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("node %q: unix: needs a path", address)
		}
		target = path
	} else {
		if host == "" || strings.ContainsAny(host, "/ @") {
			return nil, fmt.Errorf("node %q is no address: want HOST, HOST:PORT, https://HOST or unix:PATH", address)
		}
		network, target = "tcp", withPort(host)
		base = scheme + "://" + target
		if scheme == "https" {
			var err error
			if config, err = o.config(); err != nil {
				return nil, fmt.Errorf("node %q: %w", address, err)
			}
		}
	}
	dialer := &net.Dialer{Timeout: dialTime}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		TLSClientConfig:        config,
		DisableKeepAlives:      true, // the node at the other end may be another boot by the next call
		DisableCompression:     true, // a small answer can unpack to a very large one
		MaxResponseHeaderBytes: maxHeader,
	}
	c := &Client{Node: address, base: base, tls: config}
	h := &http.Client{Transport: hearing{transport, c}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	c.rpc = pawlv1.NewNodeClient(h, base, connect.WithReadMaxBytes(maxMessage), connect.WithAcceptCompression("gzip",
		nil, nil))
	return c, nil
}

func withPort(address string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), DefaultPort)
}

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
