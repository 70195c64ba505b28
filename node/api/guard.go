package api

import (
	"context"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pawl-os/pawl/node/api/access"
)

// identified says who makes each request, or refuses it.
func (a *API) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := a.access.Caller(r)
		if err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), caller)))
	})
}

// guard lets those call a method who may.
type guard struct{ connect.Interceptor }

// check refuses a call with a request.
func (guard) check(ctx context.Context, of connect.Spec, request any) error {
	m, ok := of.Schema.(protoreflect.MethodDescriptor)
	if !ok {
		return wireError(fmt.Errorf("%s is no method: %w", of.Procedure, access.ErrDenied))
	}
	r, _ := request.(proto.Message)
	return wireError(access.Check(access.CallerOf(ctx), m, r))
}

// WrapUnary implements connect.Interceptor.
func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		if err := g.check(ctx, r.Spec(), r.Any()); err != nil {
			return nil, err
		}
		return next(ctx, r)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		if err := g.check(ctx, c.Spec(), nil); err != nil {
			return err
		}
		return next(ctx, guardedConn{c, g, ctx})
	}
}

// guardedConn checks what is in a request once it has come.
type guardedConn struct {
	connect.StreamingHandlerConn
	guard guard
	ctx   context.Context
}

func (c guardedConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	return c.guard.check(c.ctx, c.Spec(), m)
}
