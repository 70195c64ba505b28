package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/internal/buildinfo"
	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/api/access"
)

// identified says who makes each request, or refuses it.
func (a *API) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := a.access.Caller(r)
		if err != nil {
			a.audit.refused(access.With(r.Context(), caller), r, err)
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), caller)))
	})
}

// VersionHeader says the version of the service, in answers to those who may ask. A client that is much older or newer
// warns.
const VersionHeader = "Pawl-Version"

// guard lets those call a method who may, and has it told who called what.
type guard struct {
	connect.Interceptor
	audit *audit
}

// check refuses a call with a request.
func (guard) check(ctx context.Context, of connect.Spec, request any) error {
	m, ok := of.Schema.(protoreflect.MethodDescriptor)
	if !ok {
		return wireError(fmt.Errorf("%s is no method: %w", of.Procedure, access.ErrDenied))
	}
	r, _ := request.(proto.Message)
	return wireError(access.Check(access.CallerOf(ctx), m, r))
}

// coded gives err its code and its kind, unless it has a code.
func coded(err error) error {
	if wire := new(connect.Error); errors.As(err, &wire) {
		return err
	}
	return wireError(err)
}

// told has it told that a call begins, or that it is over since it began at begun.
func (g guard) told(ctx context.Context, of connect.Spec, request any, begun time.Time, done bool, err error) {
	needs := access.None
	if m, ok := of.Schema.(protoreflect.MethodDescriptor); ok {
		needs = access.Needed(m, nil)
	}
	if wire := new(connect.Error); errors.As(err, &wire) {
		err = wire.Unwrap()
	}
	c := node.Call{Method: path.Base(of.Procedure), Done: done, Err: err}
	if done {
		c.Elapsed = time.Since(begun)
	}
	g.audit.called(ctx, needs, c, request)
}

// WrapUnary implements [connect.Interceptor].
func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (answer connect.AnyResponse, err error) {
		begun := time.Now()
		if err = g.check(ctx, r.Spec(), r.Any()); err == nil {
			answer, err = next(ctx, r)
			err = coded(err)
		}
		if err == nil {
			answer.Header().Set(VersionHeader, buildinfo.Version())
		}
		g.told(ctx, r.Spec(), r.Any(), begun, true, err)
		return answer, err
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		begun := time.Now()
		conn := &guardedConn{StreamingHandlerConn: c, guard: g, ctx: ctx, begun: begun}
		err := g.check(ctx, c.Spec(), nil)
		if err == nil {
			err = coded(next(ctx, conn))
		}
		g.told(ctx, c.Spec(), conn.request, begun, true, err)
		return err
	}
}

// guardedConn checks what is in a request once it has come.
type guardedConn struct {
	connect.StreamingHandlerConn
	guard   guard
	ctx     context.Context
	begun   time.Time
	request any // nil until it has come
}

func (c *guardedConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	c.request = m
	err := c.guard.check(c.ctx, c.Spec(), m)
	if err == nil {
		c.ResponseHeader().Set(VersionHeader, buildinfo.Version())
		c.guard.told(c.ctx, c.Spec(), m, c.begun, false, nil)
	}
	return err
}
