package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// healthCheck is the method by which gRPC's health checking asks (its specification: doc/health-checking.md of
// grpc/grpc). Its Watch is not there: whoever watches asks again.
const healthCheck = "/grpc.health.v1.Health/Check"

var errNoService = errors.New("this node has no such service")

// Words of HealthCheckResponse.ServingStatus.
const (
	serving    = 1
	notServing = 2
)

// health answers as /readyz does, for readers, to programs that know gRPC alone. The messages of grpc.health.v1 have
// one field each, and are on the wire what wrappers of a string and of a number are; so nothing is registered that an
// embedder's own gRPC has already.
func (a *API) health(ctx context.Context, r *connect.Request[wrapperspb.StringValue]) (
	*connect.Response[wrapperspb.Int32Value], error) {
	if service := r.Msg.GetValue(); service != "" && service != pawlv1.NodeName {
		return nil, connect.NewError(connect.CodeNotFound, errNoService)
	}
	status := int32(serving)
	if _, err := a.read(ctx); err != nil {
		status = notServing
	}
	return connect.NewResponse(wrapperspb.Int32(status)), nil
}
