// Package access decides who may call what of a node's API: who a caller is, which role that gives, and which role each
// method needs. Start with [New] and [Control.Caller]; [Check] is the decision.
//
// A Unix socket is asked of the kernel who connected. TCP without TLS tells nothing of a caller. What a method needs is
// said in pawl.proto, and what says nothing there is refused. The package serves nothing itself: package node/api does.
package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

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

// Check refuses a call of m by caller with a request, unless the caller's role allows it: ErrDenied.
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
	Plain     Role   // of callers over TCP; None is Admin
	Group     string // name or number: its members may use the Unix socket too
	GroupRole Role   // and what they are then
}

// Control tells callers.
type Control struct {
	plain Role
	group *group // nil: there is none
}

// New returns what o says, or why it cannot be had.
func New(o Options) (*Control, error) {
	c := &Control{plain: o.Plain}
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

// Caller is who makes a request; an error is ErrUnknown. The request's context is that of [Control.Connected].
func (c *Control) Caller(r *http.Request) (Caller, error) {
	if p, local := r.Context().Value(peerKey{}).(peer); local {
		return c.local(p)
	}
	return Caller{Name: "anybody", From: host(r.RemoteAddr), Role: c.plain}, nil
}

func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}
