// Package access decides who may call what of a node's API: who a caller is, which role that gives, and which role each
// method needs. Start with [New] and [Control.Caller]; [Check] is the decision.
//
// The kernel is asked who connected to a Unix socket. Over TLS a caller has a certificate, which is verified in each
// request. TCP without TLS tells nothing of a caller. What a method needs is
// said in pawl.proto, and what says nothing there is refused. The package serves nothing itself: package node/api does.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// ErrDenied is returned for a call that the caller's role does not allow. Do: ask as somebody who may.
var ErrDenied = errors.New("the caller may not do that")

// ErrUnknown is returned for a caller who is not known. Do: read the message; it says why.
var ErrUnknown = errors.New("the caller is not known")

// Role is what a caller may do. Each includes those before it.
type Role string

// The roles.
const (
	None     Role = ""         // nothing
	Reader   Role = "reader"   // look
	Operator Role = "operator" // also: plan, reboot, cancel, confirm
	Admin    Role = "admin"    // all: upgrade, roll back, force
)

var ranks = []Role{None, Reader, Operator, Admin}

// Roles are the words for them, the least first.
func Roles() []string { return []string{string(Reader), string(Operator), string(Admin)} }

// ParseRole reads a role.
func ParseRole(text string) (Role, error) {
	if !slices.Contains(Roles(), text) {
		return None, fmt.Errorf("role %q: want one of %s", text, strings.Join(Roles(), ", "))
	}
	return Role(text), nil
}

// Organization is how a client's certificate says the role, in its subject: "pawl:reader". "os:reader" will do too.
func (r Role) Organization() string { return "pawl:" + string(r) }

func greater(a, b Role) Role {
	if slices.Index(ranks, b) > slices.Index(ranks, a) {
		return b
	}
	return a
}

// Includes reports whether r may do what needed may. Nobody may do what needs no role.
func (r Role) Includes(needed Role) bool {
	at := slices.Index(ranks, needed)
	return at > 0 && slices.Index(ranks, r) >= at
}

// Caller is who calls.
type Caller struct {
	Name string // for people: the subject of a certificate, or a user of this machine
	From string // an address without its port, or "socket"
	Role Role
}

type callerKey struct{}

// With returns a context in which caller calls.
func With(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerOf is who calls in ctx; nobody, with the role None, if that was not said.
func CallerOf(ctx context.Context) Caller {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return Caller{Name: "nobody"}
	}
	return caller
}

// Needed is the role that a call of m needs with a request; None if pawl.proto names none. A nil request is one in
// which nothing is set.
func Needed(m protoreflect.MethodDescriptor, request proto.Message) Role {
	needed := named(m.Options(), pawlv1.E_Role)
	if needed == None || request == nil {
		return needed
	}
	request.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if more := named(f.Options(), pawlv1.E_RoleIfSet); more.Includes(needed) {
			needed = more
		}
		return true
	})
	return needed
}

func named(o proto.Message, option protoreflect.ExtensionType) Role {
	text, _ := proto.GetExtension(o, option).(string)
	role, err := ParseRole(text)
	if err != nil {
		return None
	}
	return role
}

// Check refuses a call of m by caller with a request, unless the caller's role allows it: [ErrDenied].
func Check(caller Caller, m protoreflect.MethodDescriptor, request proto.Message) error {
	needed := Needed(m, request)
	switch {
	case needed == None:
		return fmt.Errorf("%s says no role, so nobody may call it: %w", m.Name(), ErrDenied)
	case caller.Role == None:
		return fmt.Errorf("%s needs the role %s, and %s has none: %w", m.Name(), needed, caller.Name, ErrDenied)
	case !caller.Role.Includes(needed):
		return fmt.Errorf("%s needs the role %s, and %s is %s: %w", m.Name(), needed, caller.Name, caller.Role,
			ErrDenied)
	}
	return nil
}

// Options say who is what. The zero value works: root and the service's own user are admins over a Unix socket, and so
// is everybody who reaches TCP.
type Options struct {
	// of TCP, which is TLS then: files of PEM, all three or none. They are read again when they change; what cannot be
	// used is said in the log, and the old ones stay. ClientCA holds the authorities of clients
	Cert, Key, ClientCA string
	// a file that says the roles of certificates, read again likewise; empty: their organizations do. See the type rules
	Roles     string
	Plain     Role             // of callers over TCP without TLS; None is Admin
	Group     string           // name or number: its members may use the Unix socket too
	GroupRole Role             // and what they are then
	Log       *slog.Logger     // nil discards
	Now       func() time.Time // nil is time.Now
}

// Control tells callers.
type Control struct {
	plain Role
	group *group // nil: there is none
	files *files // nil: there is no TLS
	now   func() time.Time

	mu    sync.Mutex
	known time.Time // has come, whatever the clock says
}

// New returns what o says, or why there is none.
func New(o Options) (*Control, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Control{plain: o.Plain, now: o.Now}
	switch with := o.Cert != "" || o.Key != "" || o.ClientCA != "" || o.Roles != ""; {
	case with && (o.Cert == "" || o.Key == "" || o.ClientCA == ""):
		return nil, errors.New("TLS needs a certificate, its key, and the authorities of clients (say all three)")
	case with && o.Plain != None:
		return nil, errors.New("with TLS there are no callers over TCP who are not known, so they have no role (leave it " +
			"out)")
	case with:
		c.files = &files{cert: o.Cert, key: o.Key, clientCA: o.ClientCA, roles: o.Roles, built: built(), log: o.Log}
	}
	if c.plain == None {
		c.plain = Admin
	}
	if (o.Group == "") != (o.GroupRole == None) {
		return nil, errors.New("a group of the socket and its role go together (say both, or none)")
	}
	if o.Group != "" {
		id, err := groupID(o.Group)
		if err != nil {
			return nil, fmt.Errorf("group of the socket: %w", err)
		}
		c.group = &group{id, o.GroupRole}
	}
	return c, nil
}

// Caller is who makes a request; an error is [ErrUnknown]. The request's context is that of [Control.Connected].
func (c *Control) Caller(r *http.Request) (Caller, error) {
	if p, local := r.Context().Value(peerKey{}).(peer); local {
		return c.local(p)
	}
	if c.Secure() {
		return c.remote(r)
	}
	return Caller{Name: "anybody", From: host(r.RemoteAddr), Role: c.plain}, nil
}

// From is where a request comes from: an address without its port, or "socket".
func From(r *http.Request) string {
	if _, local := r.Context().Value(peerKey{}).(peer); local {
		return "socket"
	}
	return host(r.RemoteAddr)
}

func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}
